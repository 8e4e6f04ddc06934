"""Draw the pictures that the miniature learns from."""

from holdfast.pretrain.job import run

run("draw_world", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
