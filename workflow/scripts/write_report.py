"""Write the standalone page and the headline."""

from pathlib import Path

from holdfast.jobs.report import run

run(
    config=snakemake.params.config,
    tables={Path(path).stem: path for path in snakemake.input.tables},
    pictures=list(snakemake.input.pictures),
    figures={Path(path).stem: path for path in snakemake.input.figures},
    page=snakemake.output.page,
    headline=snakemake.output.headline,
    log=snakemake.log[0],
)
