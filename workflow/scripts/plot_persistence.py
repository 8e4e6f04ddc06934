"""Draw persistence per cell and over tuning steps."""

from holdfast.jobs.plot import persistence

persistence(
    persistence=snakemake.input.persistence,
    edits=snakemake.input.edits,
    outputs={
        "persistence": (snakemake.output.persistence, snakemake.output.persistence_png),
        "steps": (snakemake.output.steps, snakemake.output.steps_png),
    },
    log=snakemake.log[0],
)
