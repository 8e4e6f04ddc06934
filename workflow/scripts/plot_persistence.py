"""Draw a family's persistence per cell and over tuning steps."""

from holdfast.jobs.plot import persistence

persistence(
    family=snakemake.wildcards.family,
    persistence=snakemake.input.persistence,
    edits=snakemake.input.edits,
    outputs={
        "persistence": (snakemake.output.persistence, snakemake.output.persistence_png),
        "steps": (snakemake.output.steps, snakemake.output.steps_png),
    },
    log=snakemake.log[0],
)
