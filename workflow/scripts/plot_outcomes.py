"""Draw outcome rates and specificity per state."""

from holdfast.jobs.plot import outcomes

outcomes(
    rates=snakemake.input.rates,
    outputs={
        "outcomes": (snakemake.output.outcomes, snakemake.output.outcomes_png),
        "specificity": (snakemake.output.specificity, snakemake.output.specificity_png),
    },
    log=snakemake.log[0],
)
