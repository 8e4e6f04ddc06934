"""Trains mini-sd's denoiser: a small UNet2DConditionModel on cached latents, under a frozen text tower."""

from __future__ import annotations

import logging
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
) -> UNet2DConditionModel:
    """Velocity prediction with caption dropout (Ho & Salimans 2022).

    ``latents`` [N, 8, 8, 8], scaled; ``states`` [T, L, width] of the distinct captions; ``caption_rows`` [N, K] says
    which states belong to a picture; ``empty`` [1, L, width] is the empty prompt's state.
    """
    torch.manual_seed(seed)
    model = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler(**SCHEDULE)
    logger.info("%.2f million parameters", sum(p.numel() for p in model.parameters()) / 1e6)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(latents), (batch_size,), generator=generator)
        which = torch.randint(caption_rows.shape[1], (batch_size,), generator=generator)
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
