"""Train the miniature's autoencoder."""

from holdfast.pretrain.job import run

run("train_vae", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
