"""A contact sheet of the drawn world, so that a person can look at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from . import vocabulary as v
from .draw import SIZE, render
from .scenes import Scene, dataset


def catalogue() -> list[Scene]:
    """One scene for everything that exists, in the order of the vocabulary."""
    scenes = [Scene(noun, colour=default or colour) for noun, (default, _) in v.THINGS.items() for colour in ["blue"]]
    scenes += [Scene("rose", colour=colour) for colour in v.COLOURS]
    scenes += [Scene(name) for name in v.CHARACTERS]
    scenes += [Scene(noun, hat=hat) for noun in v.PROFESSIONS for hat in (True, False)]
    scenes += [Scene(v.SKULL, skull=True), Scene("battle", skull=True), Scene("battle"), Scene("graveyard", skull=True)]
    scenes += [Scene("graveyard"), Scene("picnic"), Scene(v.MASCOT)]
    scenes += [Scene("rose", colour="red", context=context) for context in v.CONTEXTS]
    scenes += [Scene("rose", colour="red", style=style) for style in v.STYLES]
    return scenes


def tile(pictures: np.ndarray, columns: int, zoom: int = 3) -> Image.Image:
    """uint8 [N, H, W, 3] -> one picture of rows and columns, enlarged ``zoom`` times without smoothing."""
    n, height, width, _ = pictures.shape
    rows = -(-n // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        r, c = divmod(i, columns)
        sheet[r * height : (r + 1) * height, c * width : (c + 1) * width] = picture
    return Image.fromarray(sheet).resize((sheet.shape[1] * zoom, sheet.shape[0] * zoom), Image.NEAREST)


def contact_sheet(path: Path, columns: int = 16, random_rows: int = 8, seed: int = 0) -> None:
    """Writes the catalogue followed by random scenes of the pretraining distribution as one PNG."""
    scenes = catalogue()
    scenes += dataset(columns * random_rows + (-len(scenes)) % columns, seed)[0]
    pictures = np.stack([render(scene, [seed, i]) for i, scene in enumerate(scenes)])
    assert pictures.shape[1:] == (SIZE, SIZE, 3)
    tile(pictures, columns).save(path)
