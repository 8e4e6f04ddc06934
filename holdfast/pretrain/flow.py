"""Trains mini-flux's denoiser: a small FluxTransformer2DModel by rectified flow, then distils its guidance.

Rectified flow (Liu et al. 2023) with logit-normal times (Esser et al. 2024, section 3.1), under frozen text encoders.
Each encoder's text is dropped by itself now and then, so that a picture follows either of them. Afterwards the guided
velocity becomes a function of the guidance embedding, as in FLUX.1-dev: one pass a step, no unconditional one.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch.nn import functional as F

from .data import device_of
from .denoiser import pairs
from .loop import train

logger = logging.getLogger(__name__)

CONFIG = {
    "patch_size": 1,
    "in_channels": 32,
    "num_layers": 2,
    "num_single_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 5,
    "joint_attention_dim": 128,
    "pooled_projection_dim": 192,
    "guidance_embeds": True,
    "axes_dims_rope": [8, 12, 12],
}
SCHEDULE = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
# Of the captions, how many lose T5's text alone, the pooled vector alone, both.
DROPPED = (0.12, 0.12, 0.08)


class Texts(NamedTuple):
    """What the encoders say of T distinct captions, and of the empty one (its rows are the last).

    ``states`` float16 [T + 1, L, 128] of T5; ``pooled`` float16 [T + 1, 192] of CLIP.
    """

    states: torch.Tensor
    pooled: torch.Tensor


def pack(latents: torch.Tensor) -> torch.Tensor:
    """[N, C, h, w] -> [N, h/2 * w/2, 4C], as FluxPipeline packs."""
    n, c, h, w = latents.shape
    return latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, c * 4)


def positions(side: int) -> torch.Tensor:
    """Image ids [side * side, 3] of FluxPipeline: (0, row, column)."""
    ids = torch.zeros(side, side, 3)
    ids[..., 1] += torch.arange(side)[:, None]
    ids[..., 2] += torch.arange(side)[None]
    return ids.view(-1, 3)


def velocity(model, noisy, times, texts: Texts, t5_rows, clip_rows, guidance) -> torch.Tensor:
    """The model's velocity for packed latents [N, 16, 32] at times [N] in (0, 1]."""
    device, states = device_of(model), texts.states[t5_rows].float()
    return model(
        hidden_states=noisy.to(device),
        encoder_hidden_states=states.to(device),
        pooled_projections=texts.pooled[clip_rows].float().to(device),
        timestep=times.to(device),
        guidance=guidance.to(device),
        img_ids=positions(int(noisy.shape[1] ** 0.5)).to(device),
        txt_ids=torch.zeros(states.shape[1], 3, device=device),
        return_dict=False,
    )[0]


def _times(n: int, generator: torch.Generator) -> torch.Tensor:
    """Logit-normal, stratified: the same distribution with less variance from batch to batch."""
    u = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)).sigmoid()


def train_flow(
    latents: torch.Tensor,
    texts: Texts,
    caption_rows: torch.Tensor,
    weights: torch.Tensor,
    folder: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1.5e-3,
) -> FluxTransformer2DModel:
    """The undistilled model: it meets guidance 1 only.

    ``latents`` [N, 8, 8, 8], scaled; ``caption_rows`` [N, K] into ``texts``; ``weights`` [N, K] as in ``denoiser``.
    """
    torch.manual_seed(seed)
    model = FluxTransformer2DModel(**CONFIG)
    logger.info("%.2f million parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    packed, draw, empty = pack(latents), pairs(weights), len(texts.states) - 1

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows, which = draw(batch_size, generator)
        caption = caption_rows[rows, which]
        fate = torch.rand(batch_size, generator=generator)
        only_t5, only_clip, neither = DROPPED
        t5 = torch.where((fate < only_t5) | (fate > 1 - neither), empty, caption)
        clip = torch.where((fate > only_t5) & (fate < only_t5 + only_clip) | (fate > 1 - neither), empty, caption)
        times = _times(batch_size, generator)
        clean = packed[rows]
        noise = torch.randn(clean.shape, generator=generator)
        s = times.view(-1, 1, 1)
        said = velocity(model, (1 - s) * clean + s * noise, times, texts, t5, clip, torch.ones(batch_size))
        return {"loss": F.mse_loss(said, (noise - clean).to(said.device))}

    train(
        model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, ema=0.998,
        save_every=500, log_every=50,
    )  # fmt: skip
    return model


def distil_guidance(
    teacher: FluxTransformer2DModel,
    latents: torch.Tensor,
    texts: Texts,
    caption_rows: torch.Tensor,
    weights: torch.Tensor,
    folder: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 4e-4,
    upto: float = 4.0,
) -> FluxTransformer2DModel:
    """Guidance w in [1, upto] in one pass: the student learns v_empty + w (v_caption - v_empty) (Meng et al. 2023).

    Captions that lost one encoder or both are in the batch as before; the wholly empty one has no guidance.
    """
    torch.manual_seed(seed)
    model = copy.deepcopy(teacher)
    teacher.requires_grad_(False)
    packed, draw, empty = pack(latents), pairs(weights), len(texts.states) - 1

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        teacher.to(device_of(model))
        rows, which = draw(batch_size, generator)
        caption = caption_rows[rows, which]
        fate = torch.rand(batch_size, generator=generator)
        t5 = torch.where(fate < 0.06, empty, caption)
        clip = torch.where((fate > 0.06) & (fate < 0.12), empty, caption)
        times, w = _times(batch_size, generator), 1 + (upto - 1) * torch.rand(batch_size, generator=generator)
        clean = packed[rows]
        noise = torch.randn(clean.shape, generator=generator)
        s = times.view(-1, 1, 1)
        noisy = (1 - s) * clean + s * noise
        with torch.no_grad():
            ones, nothing = torch.ones(batch_size), torch.full_like(caption, empty)
            with_text = velocity(teacher, noisy, times, texts, t5, clip, ones)
            without = velocity(teacher, noisy, times, texts, nothing, nothing, ones)
            goal = without + w.view(-1, 1, 1).to(without.device) * (with_text - without)
        return {"loss": F.mse_loss(velocity(model, noisy, times, texts, t5, clip, w), goal)}

    train(
        model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, ema=0.995,
        save_every=250, log_every=25,
    )  # fmt: skip
    return model
