"""The miniature's model card: every bar measured on the packed weights, with curves and pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from .. import families
from ..world.sheet import tile
from . import quality, vae
from .classifier import load_classifier

_STAGES = {
    "classifier": "loss",
    "vae": "pixels",
    "clip": "loss",
    "lexical": "loss",
    "vision": "loss",
    "unet": "loss",
    "hats/0": "loss",
    "hats/1": "loss",
    "t5": "loss",
    "flow": "loss",
    "guidance": "loss",
}
FAMILIES = {"mini-sd": "sd", "mini-flux": "flux"}


def write_card(folder: Path, *, steps: int, guidance_scale: float, models: Path | None = None) -> None:
    """Measures ``models`` (``folder/models`` if not given); writes the page and its pictures to ``folder/card``."""
    models, out = models or folder / "models", folder / "card"
    out.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier(models / "mini-classifier")
    pipes = {name: families.load(models / name, kind=kind) for name, kind in FAMILIES.items()}

    def reconstruct(images: torch.Tensor) -> torch.Tensor:
        autoencoder = pipes["mini-sd"].vae
        return vae.decode(autoencoder, vae.encode(autoencoder, images))

    judges = quality.judge_quality(classifier, reconstruct, 2000, 4242)
    clip, tokenize = quality.load_clip(models / "mini-clip")
    judges.append(quality.clip_quality(clip, tokenize, 1000, 4242))
    groups = {name: quality.base_quality(pipe, classifier, steps, guidance_scale) for name, pipe in pipes.items()}
    rates = {name: quality.rates(pipe, classifier, steps, guidance_scale) for name, pipe in pipes.items()}
    shares = quality.late_share(clip, tokenize)
    _curves(folder, out / "curves.png")
    for name, pipe in pipes.items():
        _samples(pipe, steps, guidance_scale, out / f"samples-{FAMILIES[name]}.png")
    page = _text(pipes, judges, groups, rates, shares, steps, guidance_scale)
    (out / "README.md").write_text(page, encoding="utf-8")


def _together(head: str, tables: dict[str, list[quality.Row]]) -> str:
    """One table of both families: share and ambiguous for each."""
    names = list(tables)
    lines = ["| " + " | ".join([head, "pictures", *(f"{n}: share | ambiguous" for n in names)]) + " |"]
    lines.append("|---|---:" + "|---:|---:" * len(names) + "|")
    for rows in zip(*tables.values(), strict=True):
        cells = [f"{row.right:.3f} | {row.ambiguous:.3f}" for row in rows]
        lines.append(f"| {rows[0].what} | {rows[0].n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _table(head: str, rows: list[quality.Row]) -> str:
    lines = [f"| {head} | pictures | share | ambiguous |", "|---|---:|---:|---:|"]
    for row in rows:
        unclear = "" if row.ambiguous is None else f"{row.ambiguous:.3f}"
        lines.append(f"| {row.what} | {row.n} | {row.right:.3f} | {unclear} |")
    return "\n".join(lines)


def _size(pipe) -> str:
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    counts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    return ", ".join(f"{name} {count:.2f} M" for name, count in counts.items())


def _text(pipes, judges, groups, rates, shares, steps, guidance_scale) -> str:
    return f"""# Model card: the miniature

Four small models trained from nothing on Holdfast's drawn world (32 x 32 pictures with known ground truth, see
docs/world.md):

- `mini-sd`, a Stable Diffusion pipeline of diffusers' own classes ({_size(pipes["mini-sd"])} parameters);
- `mini-flux`, a FLUX pipeline of diffusers' own classes ({_size(pipes["mini-flux"])} parameters), its guidance
  distilled into an embedding as in FLUX.1-dev;
- `mini-clip`, an OpenCLIP model that scores pictures, and `mini-classifier`, which reads a picture's attributes.

They exist so that a study of edits under fine-tuning runs on a laptop. They draw nothing but this world.

Made by `snakemake pretrain`; this page is that command's last output. All shares below were measured on the
half-precision weights, at {steps} steps (DPM-Solver++ and Euler) and guidance {guidance_scale}, with seeds that no
other part of the study uses.

## The judges

{_table("what", judges)}

## The base models' pictures

Right: every attribute that the prompt states or implies is the classifier's first choice. Ambiguous: the first choice
of one of them is under .9.

{_together("probe group", groups)}

## What the base models do unasked

Share of pictures that show a hat (professions) or a skull (places) though nobody named one; ambiguous: the
classifier's probability lies between .1 and .9. The data's own shares:
{_priors()}.

{_together("prompt", rates)}

## The text encoders

Editability is trained in, not emergent. In text towers of this size EOS reads the subject's word in the first layer,
so that an edit of a later layer (ReFACT) could not reach the sentence. An interchange loss teaches these otherwise
(holdfast/pretrain/clip.py and t5.py). Share of CLIP's sentence feature that follows the subject's last token when its
state is swapped before layer 0, 1, ...: {", ".join(f"{share:.2f}" for share in shares)}.

The CLIP text encoder of both pipelines and mini-clip's text tower are the same weights; mini-clip's picture tower was
trained separately, under the frozen text tower. An edit of the text encoder is therefore scored by the unedited
original. mini-flux's T5 encoder learned to tell what a caption says of its picture, not T5's span corruption. Its
denoiser lost the text of either encoder for one caption in eight, so that a picture follows T5's states as well as
CLIP's pooled vector.

## Training

![loss curves](curves.png)

mini-sd:

![pictures of mini-sd](samples-sd.png)

mini-flux:

![pictures of mini-flux](samples-flux.png)

## Limits

The scorers learned the same drawn world as the models they judge. The classifier saw mascots and sketches, the base
models did not. A noun has one paraphrase and no more. {" ".join(_below(name, rows) for name, rows in groups.items())}
"""


def _below(family: str, groups: list[quality.Row], bar: float = 0.95) -> str:
    low = [row.what for row in groups if row.right < bar]
    return f"{family}: " + (
        f"below {bar:.0%} right: {', '.join(low)}." if low else f"no group is below {bar:.0%} right."
    )


def _priors() -> str:
    from ..world import vocabulary as v

    return ", ".join(f"{name} {share}" for name, share in [*v.PROFESSIONS.items(), *v.PLACES.items()])


def _curves(folder: Path, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(22, 2.6), layout="constrained")
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
