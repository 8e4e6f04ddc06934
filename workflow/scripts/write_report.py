"""Write the standalone page and the headline."""

from pathlib import Path

from holdfast.jobs.report import run

run(
    config=snakemake.params.config,
    persistence=snakemake.input.persistence,
    edits=snakemake.input.edits,
    rates=snakemake.input.rates,
    costs=snakemake.input.costs,
    pictures=list(snakemake.input.pictures),
    figures={Path(path).stem: path for path in snakemake.input.figures},
    page=snakemake.output.page,
    headline=snakemake.output.headline,
    log=snakemake.log[0],
)
