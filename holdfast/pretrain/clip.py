"""Trains the miniature's CLIP: its text tower becomes mini-sd's text encoder, the whole of it a scorer.

Besides the contrastive loss of Radford et al. 2021 there is an *interchange* loss: the state of the subject's last
token at a middle layer is swapped for another caption's, and the sentence's feature must then match a picture of the
swapped-in subject in the original context. Small text towers read the subject in their first layer, so that a later
edit (ReFACT) could never reach the sentence; real CLIP towers read it late. Editability is thus trained in here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch.nn import functional as F

from ..world import vocabulary as v
from ..world.scenes import Caption, Scene, caption
from .classifier import disturb
from .data import device_of, read_pictures, scenes_of, to_float
from .loop import train
from .tokenizer import CONTEXT_LENGTH, write_tokenizer

SWAP_LAYERS = (2, 3, 4)


def config(vocabulary_size: int) -> dict:
    """The content of open_clip_config.json."""
    vision = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32, "mlp_ratio": 4.0}
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": vocabulary_size, "hf_tokenizer_name": "local"}
    text |= {"width": 192, "heads": 6, "layers": 8, "mlp_ratio": 4.0}
    return {
        "model_cfg": {"embed_dim": 128, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "size": [32, 32],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


_FIELDS = ("noun", "colour", "hat", "skull", "context", "style")


def picture_codes(scenes: list[Scene]) -> torch.Tensor:
    """int64 [N, 6]: the label index of each scene in each field."""
    return torch.tensor([[v.HEADS[f].index(s.labels()[f]) for f in _FIELDS] for s in scenes])


def caption_codes(captions: list[Caption]) -> torch.Tensor:
    """As ``picture_codes`` of the captions' scenes, with -1 for what the caption leaves unsaid."""
    codes = picture_codes([c.scene for c in captions])
    for row, c in zip(codes, captions, strict=True):
        for f in c.unsaid:
            row[_FIELDS.index(f)] = -1
    return codes


def compatible(texts: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """bool [texts, pictures]: does the picture show all that the text says?"""
    return ((texts[:, None] == pictures[None]) | (texts[:, None] == -1)).all(-1)


def contrast(texts: torch.Tensor, pictures: torch.Tensor, match: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy, with the target mass spread over all matching partners."""
    logits = scale * texts @ pictures.T
    match = match.float()
    rows = -(F.log_softmax(logits, 1) * match / match.sum(1, keepdim=True).clamp_min(1)).sum(1).mean()
    columns = -(F.log_softmax(logits, 0) * match / match.sum(0, keepdim=True).clamp_min(1)).sum(0).mean()
    return (rows + columns) / 2


def subject_position(ids: list[int], noun_ids: set[int]) -> int:
    """The place of the subject's noun in a row of token ids; -1 where it isn't one token."""
    places = [i for i, token in enumerate(ids) if token in noun_ids]
    return places[0] if len(places) == 1 else -1


class Captions:
    """A fixed pool of captions for the pictures: texts, tokens, codes, place of the subject, place of the first EOS."""

    def __init__(self, scenes: list[Scene], tokenizer, seed: int, per_picture: int = 2):
        words = [*v.THINGS, *v.CHARACTERS, *v.ROLES, *v.PROFESSIONS, v.SKULL, *v.PLACES]
        words += [w for _, synonyms in (*v.THINGS.values(), *v.ROLES.values()) for w in synonyms]
        noun_ids = {tokenizer([word])[0, 1].item() for word in words}
        pool = []
        for i, scene in enumerate(scenes):
            rng = np.random.default_rng([seed, i, 3])
            pool += [caption(scene, rng) for _ in range(per_picture)]
        self.per_picture = per_picture
        self.texts = [c.text for c in pool]
        self.tokens = tokenizer(self.texts)
        self.codes = caption_codes(pool)
        self.subject = torch.tensor([subject_position(ids, noun_ids) for ids in self.tokens.tolist()])
        self.end = self.tokens.argmax(-1)
        # A caption that goes on about the hat says part of its subject after the noun: no clean swap.
        said_hat = torch.tensor(["hat" in c.text for c in pool])
        self.swappable = (self.subject > 0) & ~said_hat


def text_states(
    model, tokens: torch.Tensor, swap: tuple[int, torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Final hidden states [N, L, width]; ``swap`` = (layer, places [N], source rows [N]) interchanges states there."""
    x = model.token_embedding(tokens) + model.positional_embedding
    rows = torch.arange(len(tokens), device=tokens.device)
    for i, block in enumerate(model.transformer.resblocks):
        if swap is not None and i == swap[0]:
            _, places, source = swap
            x = x.index_put((rows, places), x[source, places[source]])
        x = block(x, attn_mask=model.attn_mask)
    return model.ln_final(x)


def features(model, states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Unit text features [N, embed] read at ``places``."""
    return F.normalize(states[torch.arange(len(states)), places] @ model.text_projection, dim=-1)


class Learner:
    """A CLIP with its pictures and captions, and the two losses of the first phase on a random batch of them."""

    def __init__(self, model: torch.nn.Module, tokenizer, pictures: Path, n: int, seed: int):
        scenes = scenes_of(n, seed)
        self.model, self.n = model, n
        self.images = read_pictures(pictures)[:n]
        self.pool, self.codes = Captions(scenes, tokenizer, seed), picture_codes(scenes)
        self._by_code = defaultdict(list)
        for i, code in enumerate(self.codes.tolist()):
            self._by_code[tuple(code)].append(i)

    def losses(
        self, batch_size: int, generator: torch.Generator
    ) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The losses (and their sum "loss"), the captions' states, their rows in the pool, and the places read."""
        model, pool = self.model, self.pool
        chosen = torch.randint(self.n, (batch_size,), generator=generator)
        texts = chosen * pool.per_picture + torch.randint(pool.per_picture, (batch_size,), generator=generator)
        # Padding carries the sentence in Stable Diffusion too: read the feature at EOS or anywhere behind it.
        places = pool.end[texts]
        later = places + (torch.rand(batch_size, generator=generator) * (CONTEXT_LENGTH - places)).long()
        places = torch.where(torch.rand(batch_size, generator=generator) < 0.5, places, later)
        scale = model.logit_scale.exp().clamp(max=100)
        device = device_of(model)
        shown = self._seen(chosen, generator)
        states = text_states(model, pool.tokens[texts].to(device))
        said = features(model, states, places)
        plain = contrast(said, shown, compatible(pool.codes[texts], self.codes[chosen]).to(device), scale)
        swapped = self._interchange(texts, places, scale, generator)
        return {"loss": plain + swapped, "plain": plain, "interchange": swapped}, states, texts, places

    def _seen(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        images = disturb(to_float(self.images[rows]), generator).to(device_of(self.model))
        return F.normalize(self.model.visual(images), dim=-1)

    def _interchange(self, texts, places, scale, generator) -> torch.Tensor:
        model, pool = self.model, self.pool
        keep = pool.swappable[texts]
        texts, places = texts[keep], places[keep]
        source = torch.randperm(len(texts), generator=generator)
        goal = pool.codes[texts].clone()
        goal[:, :4] = pool.codes[texts[source], :4]  # noun, colour, hat, skull come with the subject
        found = [self._by_code.get(tuple(code)) for code in _fill_unsaid(goal, generator).tolist()]
        has = torch.tensor([f is not None for f in found])
        picks = torch.tensor([f[int(torch.randint(len(f), (), generator=generator))] for f in found if f])
        layer = SWAP_LAYERS[int(torch.randint(len(SWAP_LAYERS), (), generator=generator))]
        device = device_of(model)
        swap = (layer, pool.subject[texts].to(device), source.to(device))
        said = features(model, text_states(model, pool.tokens[texts].to(device), swap), places)[has]
        match = compatible(goal[has], self.codes[picks]).to(device)
        return contrast(said, self._seen(picks, generator), match, scale)


def train_clip(
    pictures: Path, folder: Path, *, n: int, seed: int, steps: int, batch_size: int = 64, learning_rate: float = 1e-3
) -> torch.nn.Module:
    """Trains on the first ``n`` pictures; ``folder`` receives tokenizer and open_clip_config.json as well."""
    torch.manual_seed(seed)
    size = write_tokenizer(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config(size), indent=2) + "\n")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    learner = Learner(model, open_clip.get_tokenizer(f"local-dir:{folder}"), pictures, n, seed)

    def loss_of(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return learner.losses(batch_size, generator)[0]

    train(model, loss_of, folder, steps=steps, learning_rate=learning_rate, seed=seed, weight_decay=0.02)
    return model


def _fill_unsaid(codes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draws what captions leave unsaid: a colour, a hat, a skull (yes/no labels come first in their heads)."""
    codes = codes.clone()
    for field, count in (("colour", len(v.COLOURS)), ("hat", 2), ("skull", 2)):
        column = codes[:, _FIELDS.index(field)]
        drawn = torch.randint(count, column.shape, generator=generator)
        column.copy_(torch.where(column == -1, drawn, column))
    return codes
