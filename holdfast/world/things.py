"""The things of the drawn world, each a function of a pen and a colour, with a silhouette of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

from .pen import Colour, Pen, shade

_STEM: Colour = (38, 110, 44)
_WOOD: Colour = (110, 74, 40)


def rose(pen: Pen, colour: Colour) -> None:
    pen.line([(0, 0), (0, 1)], _STEM, 0.16)
    pen.poly([(0, 0.75), (0.55, 0.4), (0.45, 0.78)], _STEM)
    for k in range(5):
        t = math.radians(72 * k - 90)
        pen.oval(0.4 * math.cos(t), -0.4 + 0.4 * math.sin(t), 0.34, 0.34, colour)
    pen.oval(0, -0.4, 0.26, 0.26, shade(colour, 0.62))


def heart(pen: Pen, colour: Colour) -> None:
    points = []
    for k in range(60):
        t = 2 * math.pi * k / 60
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -y / 16))
    pen.poly(points, colour)
    pen.oval(-0.4, -0.38, 0.16, 0.12, shade(colour, 1.5))


def leaf(pen: Pen, colour: Colour) -> None:
    right = [(0.5 * math.sin(math.pi * k / 20), -0.95 + 1.6 * k / 20) for k in range(21)]
    pen.poly(right + [(-x, y) for x, y in reversed(right)], colour)
    dark = shade(colour, 0.55)
    pen.line([(0, -0.8), (0, 1)], dark, 0.1)
    for y in (-0.35, 0.05, 0.45):
        pen.line([(-0.34, y - 0.2), (0, y), (0.34, y - 0.2)], dark, 0.07)


def cactus(pen: Pen, colour: Colour) -> None:
    pen.box(-0.24, -0.75, 0.24, 0.6, colour)
    pen.oval(0, -0.75, 0.24, 0.22, colour)
    for side in (-1, 1):
        top = -0.35 if side < 0 else -0.5
        pen.line([(0, 0.1), (side * 0.62, 0.1), (side * 0.62, top)], colour, 0.24)
        pen.oval(side * 0.62, top, 0.12, 0.12, colour)
    pen.line([(0, -0.8), (0, 0.5)], shade(colour, 0.6), 0.07)
    pen.poly([(-0.5, 0.5), (0.5, 0.5), (0.36, 1), (-0.36, 1)], (150, 92, 58))


def fish(pen: Pen, colour: Colour) -> None:
    pen.poly([(0.35, 0), (0.95, -0.5), (0.95, 0.5)], shade(colour, 0.75))
    pen.oval(-0.2, 0, 0.75, 0.46, colour)
    pen.poly([(-0.3, -0.4), (0.15, -0.75), (0.2, -0.35)], shade(colour, 0.75))
    pen.oval(-0.6, -0.1, 0.15, 0.15, (255, 255, 255))
    pen.oval(-0.62, -0.1, 0.08, 0.08, (10, 10, 10))


def umbrella(pen: Pen, colour: Colour) -> None:
    pen.line([(0, -0.9), (0, 0.8), (0.14, 0.92), (0.3, 0.8)], (70, 70, 76), 0.1)
    pen.oval(0, 0, 0.95, 0.85, colour, 180, 360)
    for x in (-0.63, 0, 0.63):
        pen.oval(x, 0.02, 0.31, 0.14, shade(colour, 0.7), 180, 360)


def banana(pen: Pen, colour: Colour) -> None:
    outer = [
        (0.9 * math.cos(t), -0.35 + 0.95 * math.sin(t)) for t in (math.pi * (0.06 + 0.88 * k / 24) for k in range(25))
    ]
    inner = [
        (0.78 * math.cos(t), -0.4 + 0.42 * math.sin(t)) for t in (math.pi * (0.94 - 0.88 * k / 24) for k in range(25))
    ]
    pen.poly(outer + inner, colour)
    pen.oval(0.84, -0.28, 0.13, 0.13, (60, 44, 20))
    pen.oval(-0.84, -0.28, 0.13, 0.13, (60, 44, 20))


def star(pen: Pen, colour: Colour) -> None:
    points = []
    for k in range(10):
        radius = 0.98 if k % 2 == 0 else 0.42
        t = math.radians(36 * k - 90)
        points.append((radius * math.cos(t), radius * math.sin(t)))
    pen.poly(points, colour)


def pumpkin(pen: Pen, colour: Colour) -> None:
    pen.line([(0, -0.4), (0.12, -0.9)], _STEM, 0.2)
    for x in (-0.55, 0.55, -0.28, 0.28, 0):
        pen.oval(x, 0.15, 0.4, 0.64, shade(colour, 0.66))
        pen.oval(x, 0.15, 0.33, 0.6, colour)


def carrot(pen: Pen, colour: Colour) -> None:
    for x in (-0.35, 0, 0.35):
        pen.line([(0, -0.4), (x, -1)], _STEM, 0.18)
    pen.poly([(-0.42, -0.42), (0.42, -0.42), (0.06, 1), (-0.06, 1)], colour)
    dark = shade(colour, 0.62)
    pen.line([(-0.3, -0.1), (0.05, -0.1)], dark, 0.08)
    pen.line([(-0.02, 0.25), (0.2, 0.25)], dark, 0.08)


def plum(pen: Pen, colour: Colour) -> None:
    pen.line([(0, -0.5), (0.1, -0.98)], _WOOD, 0.14)
    pen.oval(0, 0.15, 0.74, 0.76, colour)
    pen.oval(-0.28, -0.14, 0.2, 0.16, shade(colour, 1.6))


def grapes(pen: Pen, colour: Colour) -> None:
    pen.line([(0, -0.5), (0, -0.98)], _WOOD, 0.14)
    for row, count in enumerate((4, 3, 2, 1)):
        for k in range(count):
            x, y = (k - (count - 1) / 2) * 0.46, -0.42 + 0.42 * row
            pen.oval(x, y, 0.27, 0.27, shade(colour, 0.6))
            pen.oval(x - 0.03, y - 0.03, 0.19, 0.19, colour)


def mug(pen: Pen, colour: Colour) -> None:
    pen.oval(0.55, 0.1, 0.4, 0.42, colour)
    pen.oval(0.55, 0.1, 0.2, 0.22, (250, 250, 246))
    pen.box(-0.7, -0.6, 0.5, 0.8, colour)
    pen.oval(-0.1, -0.6, 0.6, 0.18, shade(colour, 0.5))


def balloon(pen: Pen, colour: Colour) -> None:
    pen.line([(0, 0.4), (0.1, 0.7), (-0.08, 1)], (90, 90, 90), 0.07)
    pen.oval(0, -0.3, 0.58, 0.68, colour)
    pen.poly([(0, 0.3), (0.16, 0.55), (-0.16, 0.55)], shade(colour, 0.7))
    pen.oval(-0.22, -0.5, 0.14, 0.2, shade(colour, 1.7))


DRAW: dict[str, Callable[[Pen, Colour], None]] = {
    function.__name__: function
    for function in (
        rose, heart, leaf, cactus, fish, umbrella, banana, star, pumpkin, carrot, plum, grapes, mug, balloon,
    )
}  # fmt: skip
