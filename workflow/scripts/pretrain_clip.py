"""Train the miniature's CLIP, whose text tower becomes mini-sd's."""

from holdfast.pretrain.job import run

run("train_clip", snakemake.params.settings, log=snakemake.log[0], threads=snakemake.threads)
