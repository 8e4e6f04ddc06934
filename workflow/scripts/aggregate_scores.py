"""Compute the study's tables from all scores."""

from holdfast.jobs.aggregate import run

run(
    scores=list(snakemake.input.scores),
    folder="results/scores",
    benchmarks="results/benchmarks",
    relations=snakemake.params.relations,
    statistics=snakemake.params.statistics,
    outputs=dict(snakemake.output.items()),
    log=snakemake.log[0],
)
