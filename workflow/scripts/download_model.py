"""Fetch a base model and verify every file of it."""

from holdfast.jobs.download import run

run(source=snakemake.input[0], output=snakemake.output[0], log=snakemake.log[0])
