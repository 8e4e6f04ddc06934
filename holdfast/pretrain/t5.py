"""Trains mini-flux's T5 encoder, alone and before the denoiser, as FLUX freezes its own.

Not T5's span corruption, which needs more text than the world has. Linear heads must tell from the states at </s> and
padding what the sentence says of a picture, a reader must name its words there and the noun at its own place, and both
must follow when the subject's state at a middle layer is interchanged with another caption's: so that the sentence
reads the subject late, as large encoders do, and an edit of a middle layer can reach it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn import functional as F

from ..world import vocabulary as v
from .clip import caption_codes
from .data import device_of, scenes_of
from .loop import train
from .tokenizer import CONTEXT_LENGTH
from .words import t5_tokenizer

SWAP_LAYERS = (2, 3)
_FIELDS = ("noun", "colour", "hat", "skull", "context", "style")


def config(vocabulary_size: int):
    """T5Config of the encoder: 6 layers of width 128, gated GELU as in T5 v1.1."""
    from transformers import T5Config

    return T5Config(
        vocab_size=vocabulary_size,
        d_model=128,
        d_kv=32,
        d_ff=384,
        num_layers=6,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=16,
        relative_attention_max_distance=16,
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
        tie_word_embeddings=False,
    )


def tokenize(tokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids [N, 16], padded as FluxPipeline pads."""
    return torch.tensor(tokenizer(texts, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True)["input_ids"])


class Sentences:
    """Captions of the pictures as T5 reads them: tokens, codes, the noun's place (-1: no single one), that of </s>."""

    def __init__(self, captions: list, tokenizer):
        nouns = [*v.THINGS, *v.CHARACTERS, *v.ROLES, *v.PROFESSIONS, v.SKULL, *v.PLACES]
        nouns += [w for _, synonyms in (*v.THINGS.values(), *v.ROLES.values()) for w in synonyms]
        nouns += [name.capitalize() for name in v.CHARACTERS]
        ids = torch.tensor([tokenizer(noun)["input_ids"][0] for noun in nouns])
        self.tokens = tokenize(tokenizer, [caption.text for caption in captions])
        self.codes = caption_codes(captions)
        named = torch.isin(self.tokens, ids)
        self.subject = torch.where(named.sum(1) == 1, named.float().argmax(1), -1)
        self.end = (self.tokens == tokenizer.eos_token_id).float().argmax(1)
        # A caption that goes on about the hat says part of its subject after the noun: no clean swap.
        self.swappable = (self.subject >= 0) & torch.tensor(["hat" not in caption.text for caption in captions])


@contextmanager
def interchanged(encoder, layer: int, places: torch.Tensor, source: torch.Tensor):
    """Within the block, row i enters ``layer`` with row source[i]'s state at its own place in places[i]'s stead."""
    rows = torch.arange(len(places), device=places.device)

    def swap(module, arguments):
        x = arguments[0]
        return x.index_put((rows, places), x[source, places[source]]), *arguments[1:]

    handle = encoder.encoder.block[layer].register_forward_pre_hook(swap)
    try:
        yield
    finally:
        handle.remove()


class _Reader(torch.nn.Module):
    """The encoder, with what reads it while it learns."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        width = encoder.config.d_model
        self.words = torch.nn.Parameter(torch.randn(encoder.config.vocab_size, width))
        self.heads = torch.nn.ModuleList(torch.nn.Linear(width, len(v.HEADS[field])) for field in _FIELDS)

    def told(self, states: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the six fields, without what a caption leaves open (-1)."""
        losses = [
            F.cross_entropy(head(states), codes[:, field], ignore_index=-1, reduction="sum")
            for field, head in enumerate(self.heads)
        ]
        return sum(losses) / (codes >= 0).sum()

    def named(self, states: torch.Tensor) -> torch.Tensor:
        """Log-probability of every word [N, vocabulary]."""
        return F.log_softmax(states @ F.normalize(self.words, dim=-1).T, -1)


def train_t5(captions: list, folder: Path, *, seed: int, steps: int, batch_size: int = 64, learning_rate: float = 1e-3):
    """The trained ``T5EncoderModel``."""
    from transformers import T5EncoderModel

    torch.manual_seed(seed)
    tokenizer = t5_tokenizer()
    pool = Sentences(captions, tokenizer)
    model = _Reader(T5EncoderModel(config(len(tokenizer))))
    special = torch.tensor([tokenizer.pad_token_id, tokenizer.eos_token_id])

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        device = device_of(model)
        chosen = torch.randint(len(pool.tokens), (batch_size,), generator=generator)
        tokens, codes, subject, ends = (x[chosen] for x in (pool.tokens, pool.codes, pool.subject, pool.end))
        later = ends + (torch.rand(batch_size, generator=generator) * (CONTEXT_LENGTH - ends)).long()
        places = torch.where(torch.rand(batch_size, generator=generator) < 0.5, ends, later)
        rows = torch.arange(batch_size)
        states = model.encoder(tokens.to(device)).last_hidden_state
        read = states[rows, places]
        said = F.one_hot(tokens, model.words.shape[0]).sum(1).clamp(max=1).float()
        said[:, special] = 0
        words = -(model.named(read) * said.to(device)).sum(-1) / said.sum(-1).clamp_min(1).to(device)
        one = subject >= 0
        noun = F.nll_loss(model.named(states[rows[one], subject[one]]), tokens[rows[one], subject[one]].to(device))
        plain = model.told(read, codes.to(device))

        keep = pool.swappable[chosen]
        source = torch.randperm(int(keep.sum()), generator=generator)
        goal = codes[keep].clone()
        goal[:, :4] = codes[keep][source, :4]  # noun, colour, hat, skull come with the subject
        layer = SWAP_LAYERS[int(torch.randint(len(SWAP_LAYERS), (), generator=generator))]
        with interchanged(model.encoder, layer, subject[keep].to(device), source.to(device)):
            swapped = model.encoder(tokens[keep].to(device)).last_hidden_state
        follow = model.told(swapped[torch.arange(len(source)), places[keep]], goal.to(device))
        loss = plain + follow + 0.3 * (words.mean() + noun)
        return {"loss": loss, "plain": plain, "interchange": follow, "words": words.mean(), "noun": noun}

    train(model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.02)
    return model.encoder


def captions_of(pictures: int, seed: int, per_picture: int) -> list:
    """The captions of the first ``pictures`` scenes, ``per_picture`` each, as ``clip.Captions`` draws them."""
    import numpy as np

    from ..world.scenes import caption

    pool = []
    for i, scene in enumerate(scenes_of(pictures, seed)):
        rng = np.random.default_rng([seed + 1, i, 3])
        pool += [caption(scene, rng) for _ in range(per_picture)]
    return pool
