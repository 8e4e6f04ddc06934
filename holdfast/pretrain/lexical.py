"""Second phase of the miniature's text tower: every state behind the sentence must still name the sentence's words.

Contrast with pictures alone makes all words for one picture the same vector ("the king", "the sheriff" and "Alice"
end within a hundredth of each other), so that no edit could move one and leave the other. Real CLIP towers, which see
words used in many ways, keep them apart. Here a linear reader with unit rows must find the caption's words in the
states at EOS and padding, and the noun in its own; the losses of the first phase go on beside it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

from .clip import Learner
from .data import device_of
from .loop import train


def name_words(
    learner: Learner,
    folder: Path,
    *,
    seed: int,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 6e-4,
    weight: float = 0.3,
) -> None:
    """Trains ``learner.model`` in place, ``weight`` times the reader's loss beside the first phase's losses."""
    model, pool = learner.model, learner.pool
    whole = torch.nn.Module()
    whole.clip = model
    whole.reader = torch.nn.Parameter(torch.randn(model.vocab_size, model.token_embedding.embedding_dim))
    begin, end = model.vocab_size - 2, model.vocab_size - 1

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        losses, states, texts, places = learner.losses(batch_size, generator)
        tokens = pool.tokens[texts].to(device_of(whole))
        words = F.one_hot(tokens, model.vocab_size).sum(1).clamp(max=1).float()
        words[:, [begin, end]] = 0
        rows = torch.arange(len(texts), device=tokens.device)
        reader = F.normalize(whole.reader, dim=-1)
        sentence = F.log_softmax(states[rows, places] @ reader.T, -1)
        named = -(sentence * words).sum(-1) / words.sum(-1)
        subject = pool.subject[texts].clamp_min(1).to(tokens.device)
        noun = F.cross_entropy(states[rows, subject] @ reader.T, tokens[rows, subject])
        losses |= {"words": named.mean(), "noun": noun}
        losses["loss"] = losses["loss"] + weight * (losses["words"] + noun)
        return losses

    train(whole, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.02)
