"""Follow one state's edits into every state that was tuned from it."""

from holdfast.jobs.causes import run

run(
    snakemake.params.job,
    model=snakemake.input.model,
    deltas=list(snakemake.input.deltas),
    corpora=list(snakemake.input.corpora),
    output=snakemake.output[0],
    log=snakemake.log[0],
    threads=snakemake.threads,
    machine={"offload": snakemake.resources.offload},
)
