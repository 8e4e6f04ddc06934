"""Print what the study would take."""

from holdfast.plan import print_plan

print_plan(snakemake.params.study, log=snakemake.log[0])
