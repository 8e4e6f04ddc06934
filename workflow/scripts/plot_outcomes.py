"""Draw outcome rates and specificity per state of a family."""

from holdfast.jobs.plot import outcomes

outcomes(
    family=snakemake.wildcards.family,
    rates=snakemake.input.rates,
    outputs={
        "outcomes": (snakemake.output.outcomes, snakemake.output.outcomes_png),
        "specificity": (snakemake.output.specificity, snakemake.output.specificity_png),
    },
    log=snakemake.log[0],
)
