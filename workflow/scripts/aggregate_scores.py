"""Compute the study's tables from all scores."""

from holdfast.jobs.aggregate import run

run(
    scores=list(snakemake.input.scores),
    quality=list(snakemake.input.quality),
    folder="results",
    relations=snakemake.params.relations,
    methods=snakemake.params.methods,
    statistics=snakemake.params.statistics,
    outputs=dict(snakemake.output.items()),
    log=snakemake.log[0],
)
