"""Train mini-sd's denoiser."""

from holdfast.pretrain.job import run

run("distil_guidance", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
