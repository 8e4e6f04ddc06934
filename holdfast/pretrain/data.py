"""The pictures and captions that the miniature learns from, drawn once and kept as safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..world import vocabulary as v
from ..world.draw import SIZE, render
from ..world.scenes import Scene, dataset


def draw_pictures(path: Path, n: int, seed: int, extra: int = 0) -> None:
    """Draws ``n`` scenes of the pretraining distribution, then ``extra`` sketches and mascots (for the classifier).

    Writes ``images`` uint8 [n + extra, 32, 32, 3]. Picture i depends on (seed, i) alone.
    """
    scenes = scenes_of(n, seed, extra)
    images = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8)
    for i, scene in enumerate(scenes):
        images[i] = render(scene, [seed, i, 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": torch.from_numpy(images)}, path)


def scenes_of(n: int, seed: int, extra: int = 0) -> list[Scene]:
    """The scenes behind ``draw_pictures``, in its order."""
    scenes = dataset(n, seed)[0]
    for i in range(extra):
        rng = np.random.default_rng([seed, n + i, 2])
        base = dataset(1, seed + 1 + i)[0][0]
        if rng.random() < 0.5:
            scenes.append(Scene(v.MASCOT, context=base.context, style=base.style))
        else:
            scenes.append(
                Scene(base.noun, None if base.colour is None else base.colour, base.hat, base.skull, "plain", "sketch")
            )
    return scenes


def read_pictures(path: Path) -> torch.Tensor:
    """uint8 [N, 32, 32, 3]."""
    return load_file(path)["images"]


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device
