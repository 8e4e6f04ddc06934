"""Train the attribute classifier."""

from holdfast.pretrain.job import run

run("train_classifier", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
