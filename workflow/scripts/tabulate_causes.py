"""Put the causes of all states together, and compare them with what was measured in pictures."""

from holdfast.jobs.cause_tables import run

run(
    causes=list(snakemake.input.causes),
    persistence=snakemake.input.persistence,
    edits=snakemake.input.edits,
    folder="results",
    relations=snakemake.params.relations,
    statistics=snakemake.params.statistics,
    outputs=dict(snakemake.output.items()),
    log=snakemake.log[0],
)
