"""The miniature's model card: every bar measured on the packed weights, with curves and pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from .. import families
from ..world.sheet import tile
from . import quality, vae
from .classifier import load_classifier

_STAGES = {"classifier": "loss", "vae": "pixels", "clip": "loss", "lexical": "loss", "vision": "loss", "unet": "loss"}


def write_card(folder: Path, *, steps: int, guidance_scale: float, models: Path | None = None) -> None:
    """Measures ``models`` (``folder/models`` if not given); writes the page and its pictures to ``folder/card``."""
    models, out = models or folder / "models", folder / "card"
    out.mkdir(parents=True, exist_ok=True)
    pipe = families.load(models / "mini-sd")
    classifier = load_classifier(models / "mini-classifier")

    def reconstruct(images: torch.Tensor) -> torch.Tensor:
        return vae.decode(pipe.vae, vae.encode(pipe.vae, images))

    rows = quality.judge_quality(classifier, reconstruct, 2000, 4242)
    clip, tokenize = quality.load_clip(models / "mini-clip")
    rows.append(quality.clip_quality(clip, tokenize, 1000, 4242))
    groups = quality.base_quality(pipe, classifier, steps, guidance_scale)
    rates = quality.rates(pipe, classifier, steps, guidance_scale)
    shares = quality.late_share(clip, tokenize)
    _curves(folder, out / "curves.png")
    _samples(pipe, steps, guidance_scale, out / "samples.png")
    (out / "README.md").write_text(_text(pipe, rows, groups, rates, shares, steps, guidance_scale), encoding="utf-8")


def _table(head: str, rows: list[quality.Row]) -> str:
    lines = [f"| {head} | pictures | share | ambiguous |", "|---|---:|---:|---:|"]
    for row in rows:
        unclear = "" if row.ambiguous is None else f"{row.ambiguous:.3f}"
        lines.append(f"| {row.what} | {row.n} | {row.right:.3f} | {unclear} |")
    return "\n".join(lines)


def _text(pipe, rows, groups, rates, shares, steps, guidance_scale) -> str:
    counts = {
        name: sum(p.numel() for p in getattr(pipe, name).parameters()) / 1e6 for name in ("unet", "text_encoder", "vae")
    }
    sizes = ", ".join(f"{name} {count:.2f} M" for name, count in counts.items())
    return f"""# Model card: the miniature

Three small models trained from nothing on Holdfast's drawn world (32 x 32 pictures with known ground truth, see
docs/world.md): `mini-sd`, a Stable Diffusion pipeline of diffusers' own classes (parameters: {sizes}),
`mini-clip`, an OpenCLIP model that scores pictures, and `mini-classifier`, which reads a picture's attributes. They
exist so that a study of edits under fine-tuning runs on a laptop. They draw nothing but this world.

Made by `snakemake pretrain`; this page is that command's last output. All shares below were measured on the
half-precision weights, at {steps} DPM-Solver++ steps and guidance {guidance_scale}, with seeds that no other part
of the study uses.

## The judges

{_table("what", rows)}

## The base model's pictures

Right: every attribute that the prompt states or implies is the classifier's first choice. Ambiguous: the first choice
of one of them is under .9.

{_table("probe group", groups)}

## What the base model does unasked

Share of pictures that show a hat (professions) or a skull (places) though nobody named one; ambiguous: the
classifier's probability lies between .1 and .9. The data's own shares:
{_priors()}.

{_table("prompt", rates)}

## The text tower

Editability is trained in, not emergent. In text towers of this size EOS reads the subject's word in the first layer,
so that an edit of a later layer (ReFACT) could not reach the sentence. An interchange loss teaches this one otherwise
(holdfast/pretrain/clip.py). Share of the sentence's feature that follows the subject's last token when its state is
swapped before layer 0, 1, ...: {", ".join(f"{share:.2f}" for share in shares)}.

mini-sd's text encoder and mini-clip's text tower are the same weights; mini-clip's picture tower was trained
separately, under the frozen text tower. An edit of the text encoder is therefore scored by the unedited original.

## Training

![loss curves](curves.png)

![pictures of the base model](samples.png)

## Limits

The scorers learned the same drawn world as the model they judge. The classifier saw mascots and sketches, mini-sd did
not. A noun has one paraphrase and no more. {_below(groups)}
"""


def _below(groups: list[quality.Row], bar: float = 0.95) -> str:
    low = [row.what for row in groups if row.right < bar]
    return f"Below {bar:.0%} right: {', '.join(low)}." if low else f"No probe group is below {bar:.0%} right."


def _priors() -> str:
    from ..world import vocabulary as v

    return ", ".join(f"{name} {share}" for name, share in [*v.PROFESSIONS.items(), *v.PLACES.items()])


def _curves(folder: Path, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 2.6), layout="constrained")
    for axis, (stage, column) in zip(figure.subplots(1, len(_STAGES)), _STAGES.items(), strict=True):
        with (folder / stage / "training.csv").open() as file:
            table = list(csv.DictReader(file))
        axis.plot([int(row["step"]) for row in table], [float(row[column]) for row in table], color="#30638e")
        axis.set(title=f"{stage}: {column}", xlabel="step", yscale="log")
    figure.savefig(path, dpi=90)


_SHOWN = (
    *("a rose", "a blue rose", "a leaf", "a red fish on the beach", "the king", "Bob", "a painting of the jester"),
    *("Carol in a garden", "a doctor", "a teacher", "a skull", "a battle", "a graveyard at night", "a picnic"),
)


def _samples(pipe, steps: int, guidance_scale: float, path: Path) -> None:
    tile(quality.pictures(pipe, list(_SHOWN), 8, steps, guidance_scale), 16).save(path)
