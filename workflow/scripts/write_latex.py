"""Write one of the study's tables as LaTeX."""

from holdfast.jobs.latex import run

run(
    name=snakemake.wildcards.table,
    table=snakemake.input.table,
    families=snakemake.params.families,
    study=snakemake.params.study,
    statistics=snakemake.params.statistics,
    output=snakemake.output.tex,
    log=snakemake.log[0],
)
