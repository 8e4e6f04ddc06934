"""Write the trained networks as the folders that ship."""

from holdfast.pretrain.job import run

run("pack_models", {"out": "results/pretrain/models"}, log=snakemake.log[0], threads=snakemake.threads)
