"""Draw where a family's edits are lost, and persistence by dose."""

from holdfast.jobs.plot import causes

causes(
    family=snakemake.wildcards.family,
    causes=snakemake.input.causes,
    persistence=snakemake.input.persistence,
    outputs={
        "causes": (snakemake.output.causes, snakemake.output.causes_png),
        "doses": (snakemake.output.doses, snakemake.output.doses_png),
    },
    log=snakemake.log[0],
)
