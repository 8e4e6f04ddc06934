"""Draw the whole world on one sheet."""

from pathlib import Path

from holdfast.world.sheet import contact_sheet

contact_sheet(Path(snakemake.output[0]))
