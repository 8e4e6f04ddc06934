"""Write a state as a pipeline folder."""

from holdfast.jobs.export import run

run(
    snakemake.params.job,
    model=snakemake.input.model,
    deltas=list(snakemake.input.deltas),
    output=snakemake.output[0],
    log=snakemake.log[0],
    threads=snakemake.threads,
)
