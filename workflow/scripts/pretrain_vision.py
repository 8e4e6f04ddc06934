"""Train the miniature's CLIP image tower on, under its frozen text tower."""

from holdfast.pretrain.job import run

run("train_vision", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
