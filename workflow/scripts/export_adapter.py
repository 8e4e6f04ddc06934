"""Write an adapter in diffusers' format."""

from holdfast.jobs.adapter import run

run(
    snakemake.params.job,
    delta=snakemake.input.delta,
    output=snakemake.output[0],
    log=snakemake.log[0],
)
