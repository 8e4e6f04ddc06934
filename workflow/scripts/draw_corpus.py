"""Draw a corpus for fine-tuning, or copy the one that the user brought."""

from holdfast.jobs.corpus import run

run(snakemake.params.job, output=snakemake.output[0], log=snakemake.log[0])
