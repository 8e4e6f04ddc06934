"""Measure the trained miniature and write its model card."""

from holdfast.pretrain.job import run

run("write_card", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
