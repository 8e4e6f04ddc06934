"""Last phase of the miniature's CLIP: the image tower learns on, alone, under the now frozen text tower.

The text tower is already inside mini-sd, so it must not move; its states at EOS are computed once, and every step
contrasts a batch of pictures with many captions, which is cheap. The text projection, which Stable Diffusion doesn't
carry, learns along. (The mirror image of locked-image tuning, Zhai et al. 2022.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from .classifier import disturb
from .clip import Captions, compatible, contrast, picture_codes, text_states
from .data import device_of, read_pictures, scenes_of, to_float
from .loop import train


def train_vision(
    model: torch.nn.Module,
    tokenizer,
    pictures: Path,
    folder: Path,
    *,
    n: int,
    seed: int,
    steps: int,
    batch_size: int = 64,
    captions: int = 768,
    learning_rate: float = 1e-3,
) -> None:
    """Trains ``model``'s image tower and text projection in place; all else stays."""
    model.requires_grad_(False)
    images, scenes = read_pictures(pictures)[:n], scenes_of(n, seed)
    pool, codes = Captions(scenes, tokenizer, seed + 2), picture_codes(scenes)
    first = {text: i for i, text in reversed(list(enumerate(pool.texts)))}
    distinct = torch.tensor(sorted(first.values()))
    with torch.no_grad():
        states = [
            text_states(model, pool.tokens[rows])[torch.arange(len(rows)), pool.end[rows]]
            for rows in distinct.split(256)
        ]
    states = torch.cat(states)
    # Few captions name a hat: without a lesson of their own CLIP believes the profession's prior and not the picture.
    hatted = torch.tensor([i for i, scene in enumerate(scenes) if scene.hat is not None])
    named = torch.tensor([row for row, i in enumerate(distinct.tolist()) if " hat" in pool.texts[i]])
    learner = torch.nn.Module()
    learner.visual = model.visual.requires_grad_(True)
    learner.projection = torch.nn.Parameter(model.text_projection.detach().clone())
    learner.logit_scale = torch.nn.Parameter(model.logit_scale.detach().clone())

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        shown = torch.randint(n, (batch_size,), generator=generator)
        texts = torch.randperm(len(distinct), generator=generator)[:captions]
        shown_hats = hatted[torch.randint(len(hatted), (batch_size // 2,), generator=generator)]
        hat_texts = named[torch.randperm(len(named), generator=generator)[: captions // 3]]
        everything = matched(shown, texts, generator)
        hats = matched(shown_hats, hat_texts, generator)
        return {"loss": everything + hats, "everything": everything, "hats": hats}

    def matched(shown: torch.Tensor, texts: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        device = device_of(learner)
        seen = F.normalize(learner.visual(disturb(to_float(images[shown]), generator).to(device)), dim=-1)
        match = compatible(pool.codes[distinct[texts]], codes[shown]).to(device)
        said = F.normalize(states[texts].to(device) @ learner.projection, dim=-1)
        return contrast(said, seen, match, learner.logit_scale.exp().clamp(max=100))

    train(learner, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.02)
    with torch.no_grad():
        model.text_projection.copy_(learner.projection)
        model.logit_scale.copy_(learner.logit_scale)
    model.eval().requires_grad_(False)
