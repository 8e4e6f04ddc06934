"""Teach the text tower to keep words apart."""

from holdfast.pretrain.job import run

run("name_words", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
