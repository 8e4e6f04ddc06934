"""A pen that draws polygons in a shape's own coordinates: x to the right, y down, both in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import ImageDraw

Colour = tuple[int, int, int]


class Pen:
    """Draws on ``draw`` after scaling (pixels per unit), turning (radians) and shifting (pixels)."""

    def __init__(self, draw: ImageDraw.ImageDraw, scale: float, angle: float, x: float, y: float):
        self._draw, self._scale, self._x, self._y = draw, scale, x, y
        self._cos, self._sin = math.cos(angle), math.sin(angle)

    def _place(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [
            (
                self._x + self._scale * (self._cos * x - self._sin * y),
                self._y + self._scale * (self._sin * x + self._cos * y),
            )
            for x, y in points
        ]

    def poly(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        self._draw.polygon(self._place(points), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.poly([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, start: float = 0, stop: float = 360
    ) -> None:
        """An ellipse, or the part of it between two angles in degrees (0 is right, 90 is down)."""
        steps = [math.radians(start + (stop - start) * i / 28) for i in range(29)]
        self.poly([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in steps], colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        self._draw.line(self._place(points), fill=colour, width=max(1, round(width * self._scale)), joint="curve")


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter (factor > 1, towards white)."""
    if factor <= 1:
        return tuple(round(c * factor) for c in colour)
    return tuple(round(c + (255 - c) * (factor - 1)) for c in colour)
