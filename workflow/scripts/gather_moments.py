"""Gather the second moments that a family's ReFACT edits read."""

from holdfast.jobs.moments import run

run(
    snakemake.params.job,
    model=snakemake.input.model,
    texts=list(snakemake.input.texts),
    output=snakemake.output[0],
    log=snakemake.log[0],
    threads=snakemake.threads,
)
