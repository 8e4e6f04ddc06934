"""Trains mini-sd's denoiser: a small UNet2DConditionModel on cached latents, under a frozen text tower."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch.nn import functional as F

from .data import device_of
from .loop import train

logger = logging.getLogger(__name__)

CONFIG = {
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": [64, 128],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D"] * 2,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2,
    "cross_attention_dim": 192,
    "attention_head_dim": [2, 4],
    "norm_num_groups": 16,
}
# Stable Diffusion's own schedule (Rombach et al. 2022), with velocity as the target (Salimans & Ho 2022).
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
}


def pairs(weights: torch.Tensor) -> Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]:
    """A function (n, generator) -> n pictures and their captions, drawn in proportion to ``weights`` [N, K]."""
    upto = weights.double().flatten().cumsum(0)

    def draw(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.rand(n, generator=generator, dtype=torch.float64) * upto[-1]
        chosen = torch.searchsorted(upto, places, right=True).clamp_max(len(upto) - 1)
        return chosen // weights.shape[1], chosen % weights.shape[1]

    return draw


@torch.no_grad()
def embed(text_encoder, tokens: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Token ids [N, L] -> last hidden states, float16 [N, L, width]."""
    return torch.cat([text_encoder(part)[0].half() for part in tokens.split(batch_size)])


def train_denoiser(
    latents: torch.Tensor,
    states: torch.Tensor,
    caption_rows: torch.Tensor,
    empty: torch.Tensor,
    folder: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1.5e-3,
    dropout: float = 0.1,
    weights: torch.Tensor | None = None,
    model: UNet2DConditionModel | None = None,
) -> UNet2DConditionModel:
    """Velocity prediction with caption dropout (Ho & Salimans 2022).

    ``latents`` [N, 8, 8, 8], scaled; ``states`` [T, L, width] of the distinct captions; ``caption_rows`` [N, K] says
    which states belong to a picture; ``empty`` [1, L, width] is the empty prompt's state; ``weights`` [N, K] how often
    a picture is shown with a caption, relative to the others; ``model`` is what to go on from, by default nothing.
    """
    torch.manual_seed(seed)
    model = (model or UNet2DConditionModel(**CONFIG)).to(memory_format=torch.channels_last)
    draw = pairs(torch.ones(caption_rows.shape) if weights is None else weights)
    scheduler = DDPMScheduler(**SCHEDULE)
    logger.info("%.2f million parameters", sum(p.numel() for p in model.parameters()) / 1e6)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows, which = draw(batch_size, generator)
        context = states[caption_rows[rows, which]].float()
        dropped = torch.rand(batch_size, 1, 1, generator=generator) < dropout
        context = torch.where(dropped, empty.float(), context)
        noise = torch.randn(latents[rows].shape, generator=generator)
        # Stratified timesteps: the same distribution with less variance from batch to batch.
        u = (torch.arange(batch_size) + torch.rand(batch_size, generator=generator)) / batch_size
        t = (u * scheduler.config.num_train_timesteps).long()
        noisy = scheduler.add_noise(latents[rows], noise, t)
        target = scheduler.get_velocity(latents[rows], noise, t)
        device = device_of(model)
        return {"loss": F.mse_loss(model(noisy.to(device), t.to(device), context.to(device)).sample, target.to(device))}

    train(
        model,
        loss_of,
        folder,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        ema=0.998,
        save_every=500,
        log_every=50,
    )
    return model
