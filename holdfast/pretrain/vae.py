"""Trains the miniature's autoencoder (diffusers' AutoencoderKL, f4, eight latent channels)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn import functional as F

from .data import device_of, read_pictures, to_float
from .loop import train

CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [16, 32, 64],
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 8,
    "sample_size": 32,
    "mid_block_add_attention": False,
}


def train_vae(
    pictures: Path,
    folder: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    kl_weight: float = 2e-4,
) -> AutoencoderKL:
    """L1 on pixels and on their differences (which keeps edges), plus a weak KL term (Kingma & Welling 2014).

    The scaling factor is one over the latents' standard deviation, as in Rombach et al. 2022, section G.
    """
    torch.manual_seed(seed)
    images = read_pictures(pictures)
    model = AutoencoderKL(**CONFIG)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        x = to_float(images[rows]).to(device_of(model))
        posterior = model.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
        y = model.decode(posterior.mean + posterior.std * noise).sample
        pixels = F.l1_loss(y, x)
        edges = F.l1_loss(y.diff(dim=2), x.diff(dim=2)) + F.l1_loss(y.diff(dim=3), x.diff(dim=3))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return {"loss": pixels + 0.5 * edges + kl_weight * kl, "pixels": pixels, "edges": edges, "kl": kl}

    train(model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.0)
    latents = encode(model, images[:2048])
    model.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    return model


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """uint8 [N, 32, 32, 3] -> posterior means float32 [N, 8, 8, 8], not yet scaled."""
    return torch.cat([vae.encode(to_float(part)).latent_dist.mean for part in images.split(batch_size)])


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Unscaled latents -> uint8 [N, 32, 32, 3]."""
    parts = [vae.decode(part).sample for part in latents.split(batch_size)]
    return torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
