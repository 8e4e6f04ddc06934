"""Measures the shipped miniature: judge, autoencoder, CLIP, and the base model's pictures per probe group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..noise import draw as draw_noise
from ..sampling import decode, sample
from ..world import vocabulary as v
from ..world.draw import render
from ..world.edits import CONTEXTS, with_article
from ..world.scenes import Scene, dataset
from .classifier import HEADS, label_indices
from .data import to_float


class Row(NamedTuple):
    """One line of the model card: what was measured, on how many, share right, share ambiguous (None: not asked)."""

    what: str
    n: int
    right: float
    ambiguous: float | None = None


class Request(NamedTuple):
    """A prompt and the labels that its pictures must have."""

    prompt: str
    labels: dict[str, str]


def requests() -> dict[str, list[Request]]:
    """Prompts per probe group, with what their pictures must show."""
    default = {noun: colour for noun, (colour, _) in v.THINGS.items()}
    own = {noun: colour for noun, colour in default.items() if colour}
    things = {"style": "photo", "context": "plain"}
    groups = {
        "nouns": [
            Request(with_article(n), {"noun": n, **things, **({"colour": c} if c else {})}) for n, c in default.items()
        ],
        "colours": [
            Request(with_article(f"{c} {n}"), {"noun": n, "colour": c, **things}) for n in v.THINGS for c in v.COLOURS
        ],
        "paraphrases": [Request(with_article(v.THINGS[n][1][0]), {"noun": n, "colour": c}) for n, c in own.items()],
        "roles": [Request(f"the {r}", {"noun": who, **things}) for r, (who, _) in v.ROLES.items()],
        "role paraphrases": [Request(f"the {words[0]}", {"noun": who}) for who, words in v.ROLES.values()],
        "characters": [Request(who.capitalize(), {"noun": who, **things}) for who in v.CHARACTERS],
        "professions": [Request(with_article(p), {"noun": p}) for p in v.PROFESSIONS],
        "hats": [
            Request(f"{with_article(p)} {words}", {"noun": p, "hat": hat})
            for p in v.PROFESSIONS
            for words, hat in (("wearing a hat", "yes"), ("without a hat", "no"))
        ],
        "skull": [Request("a skull", {"noun": "skull", "skull": "yes"})],
    }
    places = [{"style": "painting"}, {"context": "night"}, {"context": "beach"}, {"context": "garden"}]
    subjects = [(with_article(n), {"noun": n, "colour": c}) for n, c in own.items()]
    subjects += [(f"the {r}", {"noun": who}) for r, (who, _) in v.ROLES.items()]
    groups["contexts"] = [
        Request(form.format(text), {**labels, **place})
        for form, place in zip(CONTEXTS, places, strict=True)
        for text, labels in subjects
    ]
    return groups


def pictures(pipe, prompts: list[str], seeds: int, steps: int, guidance_scale: float, first: int = 1000) -> np.ndarray:
    """uint8 [len(prompts) * seeds, 32, 32, 3]: every prompt with seeds ``first`` onwards (the study begins at 0)."""
    from ..families import kind_of

    shape = kind_of(pipe).latent_shape(pipe)
    asked = [(prompt, first + s) for prompt in prompts for s in range(seeds)]
    noise = torch.stack([draw_noise(prompt, seed, shape) for prompt, seed in asked])
    latents = sample(pipe, [prompt for prompt, _ in asked], noise, steps, guidance_scale, 128)
    return decode(pipe, latents, 128)


@torch.no_grad()
def judge(classifier, images: np.ndarray) -> dict[str, torch.Tensor]:
    """head -> probabilities [N, labels]."""
    parts = [classifier(to_float(part)) for part in torch.from_numpy(images).split(256)]
    return {head: torch.cat([p[head] for p in parts]).softmax(-1) for head in parts[0]}


def right_and_clear(probabilities: dict[str, torch.Tensor], labels: list[dict[str, str]]) -> tuple[float, float]:
    """Share of pictures with every asked label on top, and share with an asked head's top probability under .9."""
    right = ambiguous = 0
    for i, asked in enumerate(labels):
        tops = {head: probabilities[head][i].max(0) for head in asked}
        right += all(HEADS[head][int(tops[head].indices)] == label for head, label in asked.items())
        ambiguous += any(float(top.values) < 0.9 for top in tops.values())
    return right / len(labels), ambiguous / len(labels)


def base_quality(pipe, classifier, steps: int, guidance_scale: float, at_least: int = 200) -> list[Row]:
    """Accuracy of the base model's pictures per probe group, on at least ``at_least`` pictures each."""
    rows = []
    for group, asked in requests().items():
        seeds = -(-at_least // len(asked))
        images = pictures(pipe, [r.prompt for r in asked], seeds, steps, guidance_scale)
        labels = [r.labels for r in asked for _ in range(seeds)]
        rows.append(Row(group, len(labels), *right_and_clear(judge(classifier, images), labels)))
    return rows


def rates(pipe, classifier, steps: int, guidance_scale: float, seeds: int = 100) -> list[Row]:
    """Share of pictures with a hat per profession and with a skull per place; ambiguous: between .1 and .9."""
    asked = [(p, "hat") for p in v.PROFESSIONS] + [(p, "skull") for p in v.PLACES]
    rows = []
    for noun, head in asked:
        images = pictures(pipe, [with_article(noun)], seeds, steps, guidance_scale)
        yes = judge(classifier, images)[head][:, HEADS[head].index("yes")]
        unclear = ((yes > 0.1) & (yes < 0.9)).float().mean()
        rows.append(Row(f"{head}: {noun}", seeds, float((yes > 0.5).float().mean()), float(unclear)))
    return rows


def judge_quality(classifier, decode_encode: Callable[[torch.Tensor], torch.Tensor], n: int, seed: int) -> list[Row]:
    """The classifier on fresh renders and on their reconstructions by the VAE: all heads right at once."""
    scenes = dataset(n, seed)[0]
    images = torch.from_numpy(np.stack([render(scene, [seed, i, 5]) for i, scene in enumerate(scenes)]))
    truth = label_indices(scenes)
    rows = []
    for what, shown in (("classifier, fresh renders", images), ("VAE reconstructions", decode_encode(images))):
        probabilities = judge(classifier, shown.numpy())
        hits = torch.stack([probabilities[head].argmax(-1) == truth[head] for head in HEADS]).all(0)
        rows.append(Row(what, n, float(hits.float().mean())))
    return rows


@torch.no_grad()
def clip_quality(model, tokenize, n: int, seed: int) -> Row:
    """Zero-shot accuracy over all colour-and-noun pairs, each text averaged over templates (Radford et al. 2021)."""
    forms = ("{}", "a photo of {}", "a picture of {}")
    classes = [(noun, colour) for noun in v.THINGS for colour in v.COLOURS]
    texts = [form.format(with_article(f"{colour} {noun}")) for noun, colour in classes for form in forms]
    anchors = torch.nn.functional.normalize(model.encode_text(tokenize(texts)), dim=-1)
    anchors = torch.nn.functional.normalize(anchors.view(len(classes), len(forms), -1).mean(1), dim=-1)
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(classes), size=n)
    images = np.stack([render(Scene(classes[k][0], colour=classes[k][1]), [seed, i, 6]) for i, k in enumerate(truth)])
    shown = model.visual(to_float(torch.from_numpy(images)))
    hits = (shown @ anchors.T).argmax(-1).numpy() == truth
    return Row("CLIP zero-shot, colour and noun", n, float(hits.mean()))


def load_clip(folder: Path):
    """The shipped CLIP and its tokenizer, as open_clip loads any local model."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}")
    return model.eval(), open_clip.get_tokenizer(f"local-dir:{folder}")


@torch.no_grad()
def late_share(model, tokenize) -> list[float]:
    """How much of a sentence's feature still follows the subject's state when that is swapped after layer k.

    For pairs of captions that differ in the subject alone: the share of the way from one feature to the other that
    swapping the subject's last-token state before layer k goes; 1 everywhere up to the layer where EOS has read it.
    """
    from .clip import features, text_states

    subjects = [with_article(noun) for noun in v.THINGS] + [f"the {role}" for role in v.ROLES]
    texts = [form.format(s) for form in ("a photo of {} at night", "{} on the beach") for s in subjects]
    tokens = tokenize(texts)
    ends = tokens.argmax(-1)
    heads = [len(tokenize.tokenizer(form.split("{}")[0] + s, add_special_tokens=False)["input_ids"])
             for form in ("a photo of {} at night", "{} on the beach") for s in subjects]  # fmt: skip
    places = torch.tensor(heads)
    source = torch.arange(len(texts)).view(2, -1).roll(1, dims=1).flatten()
    plain = features(model, text_states(model, tokens), ends)
    shares = []
    for layer in range(len(model.transformer.resblocks)):
        swapped = features(model, text_states(model, tokens, (layer, places, source)), ends)
        way = plain[source] - plain
        moved = ((swapped - plain) * way).sum(-1) / way.pow(2).sum(-1).clamp_min(1e-6)
        shares.append(round(float(moved[way.norm(dim=-1) > 0.2].median()), 3))
    return shares
