"""Draw the whole study as a heat map."""

from holdfast.jobs.plot import matrix

matrix(
    families=snakemake.params.families,
    persistence=snakemake.input.persistence,
    outputs=(snakemake.output.svg, snakemake.output.png),
    log=snakemake.log[0],
)
