"""The attribute classifier's network: what a picture of the drawn world shows, one softmax per head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Pre-activation residual block (He et al. 2016) with group normalisation, optionally halving the resolution."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, out)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.skip = nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class AttributeNet(nn.Module):
    """A small residual network with one linear head per attribute.

    ``heads`` maps a head to its labels. ``forward`` takes float [N, 3, 32, 32] in [-1, 1] and returns
    head -> logits [N, labels].
    """

    def __init__(self, heads: dict[str, list[str]], width: int = 32):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.blocks = nn.Sequential(
            _Block(width, width, 2),
            _Block(width, 2 * width, 2),
            _Block(2 * width, 4 * width, 2),
            _Block(4 * width, 4 * width, 1),
        )
        self.norm = nn.GroupNorm(8, 4 * width)
        self.heads = nn.ModuleDict({head: nn.Linear(4 * width * 16, len(labels)) for head, labels in heads.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = F.silu(self.norm(self.blocks(self.stem(images)))).flatten(1)
        return {head: layer(features) for head, layer in self.heads.items()}
