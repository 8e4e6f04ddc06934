"""Trains the attribute classifier, the miniature's judge of what a picture shows."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from ..scorers.network import AttributeNet
from ..world import vocabulary as v
from ..world.scenes import Scene
from .data import device_of, read_pictures, scenes_of, to_float
from .loop import train

HEADS = {head: list(labels) for head, labels in v.HEADS.items()}


def label_indices(scenes: list[Scene]) -> dict[str, torch.Tensor]:
    """head -> int64 [N], the index of each scene's label."""
    rows = [scene.labels() for scene in scenes]
    return {head: torch.tensor([labels.index(row[head]) for row in rows]) for head, labels in HEADS.items()}


def disturb(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise, contrast and shifts of a pixel or two: the judge must not be thrown by a decoder's softness."""
    n = images.shape[0]
    strength = torch.rand(n, 1, 1, 1, generator=generator)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.lerp(images, blurred, strength * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5))
    contrast = 1 + 0.1 * torch.randn(n, 1, 1, 1, generator=generator)
    images = images * contrast + 0.05 * torch.randn(n, 3, 1, 1, generator=generator)
    images = images + 0.1 * torch.rand(n, 1, 1, 1, generator=generator) * torch.randn(images.shape, generator=generator)
    shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded[:, :, 2 + shift[0] : 34 + shift[0], 2 + shift[1] : 34 + shift[1]]


def train_classifier(
    pictures: Path,
    folder: Path,
    *,
    n: int,
    seed: int,
    extra: int,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
) -> AttributeNet:
    """Trains on the ``n + extra`` pictures of ``data.draw_pictures`` and returns the averaged network."""
    torch.manual_seed(seed)
    images, labels = read_pictures(pictures), label_indices(scenes_of(n, seed, extra))
    model = AttributeNet(HEADS)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        device = device_of(model)
        logits = model(disturb(to_float(images[rows]), generator).to(device))
        losses = {head: F.cross_entropy(logits[head], labels[head][rows].to(device)) for head in logits}
        return {"loss": sum(losses.values()), **losses}

    train(model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed)
    return model


def load_classifier(folder: Path) -> AttributeNet:
    """The network of ``folder/model.safetensors``, ready to judge."""
    model = AttributeNet(HEADS)
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model.eval()
