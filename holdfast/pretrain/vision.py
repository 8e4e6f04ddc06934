"""Second phase of the miniature's CLIP: a finer image tower learns under the now frozen text tower.

Patches of four pixels instead of eight tell a plum from a mug. The text tower is already inside mini-sd, so it must
not move; its features are computed once, and every step contrasts a batch of pictures with many captions. (The mirror
image of locked-image tuning, Zhai et al. 2022.)
"""

from __future__ import annotations

import copy
from pathlib import Path

import open_clip
import torch
from torch.nn import functional as F

from .classifier import disturb
from .clip import Captions, compatible, contrast, features, picture_codes, text_states
from .data import device_of, read_pictures, scenes_of, to_float
from .loop import train

PATCH = 4


def refined(config: dict) -> dict:
    """The first phase's open_clip configuration with finer patches."""
    config = copy.deepcopy(config)
    config["model_cfg"]["vision_cfg"]["patch_size"] = PATCH
    return config


def train_vision(
    coarse: torch.nn.Module,
    model: torch.nn.Module,
    tokenizer,
    pictures: Path,
    folder: Path,
    *,
    n: int,
    seed: int,
    steps: int,
    batch_size: int = 96,
    captions: int = 768,
    learning_rate: float = 8e-4,
) -> None:
    """Trains ``model.visual`` in place; all else in ``model`` becomes a copy of ``coarse`` and stays."""
    begin = coarse.state_dict()
    for name, tensor in model.state_dict().items():
        if begin[name].shape == tensor.shape:
            tensor.copy_(begin[name])
    model.requires_grad_(False)
    images, scenes = read_pictures(pictures)[:n], scenes_of(n, seed)
    pool, codes = Captions(scenes, tokenizer, seed + 2), picture_codes(scenes)
    first = {text: i for i, text in reversed(list(enumerate(pool.texts)))}
    distinct = torch.tensor(sorted(first.values()))
    with torch.no_grad():
        said = torch.cat(
            [features(model, text_states(model, pool.tokens[r]), pool.end[r]) for r in distinct.split(256)]
        )
    learner = torch.nn.Module()
    learner.visual = model.visual.requires_grad_(True)
    learner.logit_scale = torch.nn.Parameter(model.logit_scale.detach().clone())

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        shown = torch.randint(n, (batch_size,), generator=generator)
        texts = torch.randperm(len(distinct), generator=generator)[:captions]
        device = device_of(learner)
        seen = F.normalize(learner.visual(disturb(to_float(images[shown]), generator).to(device)), dim=-1)
        match = compatible(pool.codes[distinct[texts]], codes[shown]).to(device)
        return {"loss": contrast(said[texts].to(device), seen, match, learner.logit_scale.exp().clamp(max=100))}

    train(learner, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.02)
    with torch.no_grad():
        model.logit_scale.copy_(learner.logit_scale)
    model.eval().requires_grad_(False)


def blank(folder: Path) -> torch.nn.Module:
    """A model of ``folder/open_clip_config.json`` with random weights."""
    return open_clip.create_model(f"local-dir:{folder}", load_weights=False)
