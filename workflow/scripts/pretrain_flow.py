"""Train mini-sd's denoiser."""

from holdfast.pretrain.job import run

run("train_flow", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
