"""Trains the miniature from nothing: attribute classifier, VAE, CLIP and denoiser, on the drawn world.

Every stage is one function that reads and writes files of one folder, saves as it goes and goes on where it was
cut off. ``snakemake pretrain`` runs them in order; ``pack`` writes the shipped folders of ``models/``.
"""

from ..compat import ensure_torchvision

# Every module here imports diffusers, transformers or open_clip at its top.
ensure_torchvision()
