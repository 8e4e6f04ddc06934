"""Train mini-sd's denoiser."""

from holdfast.pretrain.job import run

run("train_t5", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
