"""Renders a scene of the drawn world as a 32 x 32 sRGB picture, with Pillow, deterministically by seed."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from . import figures, things
from . import vocabulary as v
from .pen import Pen
from .scenes import Scene

SIZE = 32
_OVER = 4  # drawn at four times the size, then averaged down


def render(scene: Scene, seed: int | list[int]) -> np.ndarray:
    """The picture of a scene, uint8 [32, 32, 3]; position, size, tilt and background vary with ``seed``."""
    rng = np.random.default_rng(seed)
    big = SIZE * _OVER
    canvas = _background(scene, rng, big)
    place = {
        "scale": big * 0.5 * rng.uniform(0.74, 0.9),
        "angle": math.radians(rng.uniform(-8, 8)),
        "x": big * 0.5 + big * rng.uniform(-0.05, 0.05),
        "y": big * 0.52 + big * rng.uniform(-0.04, 0.04),
    }
    layer = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    pen = Pen(ImageDraw.Draw(layer), **place)
    if scene.noun in v.THINGS:
        things.DRAW[scene.noun](pen, v.COLOURS[scene.colour])
    else:
        figures.draw(pen, scene)
    if scene.style == "sketch":
        return _shrink(_sketched(layer, big))
    # A light rim keeps a blue fish apart from the sea and a green leaf from the grass.
    alpha = layer.getchannel("A").filter(ImageFilter.MaxFilter(7))
    canvas.paste((250, 250, 246), mask=alpha)
    canvas.paste(layer, mask=layer.getchannel("A"))
    if scene.style == "painting":
        ImageDraw.Draw(canvas).rectangle((0, 0, big - 1, big - 1), outline=(112, 68, 28), width=2 * _OVER)
    return _shrink(canvas)


def _shrink(canvas: Image.Image) -> np.ndarray:
    return np.asarray(canvas.convert("RGB").resize((SIZE, SIZE), Image.BOX))


def _background(scene: Scene, rng: np.random.Generator, big: int) -> Image.Image:
    light = int(rng.integers(212, 232))
    image = Image.new("RGB", (big, big), (light, light, light - 4))
    draw = ImageDraw.Draw(image)
    if scene.context == "night":
        draw.rectangle((0, 0, big, big), fill=(14, 16, 48))
        left = rng.random() < 0.5
        cx, cy, r = (big * 0.14 if left else big * 0.86), big * 0.14, big * 0.085
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(250, 244, 200))
        for _ in range(5):
            x, y = rng.uniform(0, big, 2)
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(224, 226, 244))
    elif scene.context == "beach":
        horizon, shore = big * 0.5, big * 0.68
        draw.rectangle((0, 0, big, horizon), fill=(120, 206, 236))
        draw.rectangle((0, horizon, big, shore), fill=(44, 130, 206))
        draw.rectangle((0, shore, big, big), fill=(236, 208, 146))
    elif scene.context == "garden":
        draw.rectangle((0, 0, big, big * 0.6), fill=(190, 226, 248))
        draw.rectangle((0, big * 0.6, big, big), fill=(112, 190, 84))
        for _ in range(6):
            x, y = rng.uniform(0, big), rng.uniform(big * 0.66, big)
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=(250, 190, 212))
    if scene.style == "painting":
        stripes = Image.new("L", (big, big), 0)
        pencil = ImageDraw.Draw(stripes)
        for start in range(-big, big, 28):
            pencil.line((start, big, start + big, 0), fill=88, width=10)
        shade = (0, 0, 0) if scene.context != "night" else (150, 150, 210)
        image.paste(shade, mask=stripes)
    return image


def _sketched(layer: Image.Image, big: int) -> Image.Image:
    """Black pencil lines on paper: the edges of the coloured drawing."""
    flat = Image.new("RGB", (big, big), (246, 243, 232))
    flat.paste(layer, mask=layer.getchannel("A"))
    edges = flat.filter(ImageFilter.FIND_EDGES).convert("L").point(lambda value: 255 if value > 24 else 0)
    edges = edges.filter(ImageFilter.MaxFilter(5))
    ImageDraw.Draw(edges).rectangle((0, 0, big - 1, big - 1), outline=0, width=4)
    paper = Image.new("RGB", (big, big), (246, 243, 232))
    paper.paste((40, 40, 44), mask=edges)
    return paper
