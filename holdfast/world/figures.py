"""The figures of the drawn world: characters, professions, the mascot, the skull and the places."""

from __future__ import annotations

import math

from . import vocabulary as v
from .pen import Colour, Pen
from .scenes import Scene

_SKIN: Colour = (240, 200, 164)
_BROWN: Colour = (96, 60, 30)
_BLACK: Colour = (22, 22, 26)
_WHITE: Colour = (252, 252, 250)
_HAT: Colour = (232, 30, 150)


def _body(pen: Pen, colour: Colour, top: float = 0.44) -> None:
    pen.poly([(-top, 0.0), (top, 0.0), (0.68, 1.0), (-0.68, 1.0)], colour)


def _head(pen: Pen, skin: Colour = _SKIN) -> None:
    pen.oval(0, -0.36, 0.4, 0.44, skin)
    for x in (-0.16, 0.16):
        pen.oval(x, -0.36, 0.075, 0.09, _BLACK)


def _alice(pen: Pen) -> None:
    pen.box(-0.58, -0.6, 0.58, 0.3, (250, 214, 40))
    pen.oval(0, -0.6, 0.58, 0.38, (250, 214, 40))
    _body(pen, (40, 92, 220), 0.3)
    _head(pen)


def _bob(pen: Pen) -> None:
    _body(pen, (36, 150, 66), 0.56)
    _head(pen)
    pen.oval(0, -0.62, 0.46, 0.3, _BLACK, 180, 360)
    pen.box(-0.44, -0.48, 0.44, -0.22, _BLACK)
    for x in (-0.18, 0.18):
        pen.oval(x, -0.35, 0.1, 0.09, _WHITE)


def _carol(pen: Pen) -> None:
    for k in range(9):
        t = math.radians(150 + 30 * k)
        pen.oval(0.52 * math.cos(t), -0.4 + 0.46 * math.sin(t), 0.24, 0.24, (240, 116, 24))
    _body(pen, (136, 40, 172), 0.36)
    _head(pen)


def _dave(pen: Pen) -> None:
    _body(pen, (208, 34, 40), 0.52)
    _head(pen)
    pen.oval(0, -0.2, 0.42, 0.52, _BROWN, 0, 180)


def _erin(pen: Pen) -> None:
    pen.oval(0, -0.92, 0.26, 0.24, (150, 152, 160))
    pen.oval(0, -0.46, 0.48, 0.46, (150, 152, 160))
    _body(pen, (246, 206, 40), 0.4)
    _head(pen)


def _frank(pen: Pen) -> None:
    _body(pen, (34, 34, 40), 0.6)
    pen.box(-0.42, -0.8, 0.42, 0.06, (112, 190, 110))
    pen.box(-0.46, -0.98, 0.46, -0.66, _BLACK)
    for x in (-0.18, 0.18):
        pen.oval(x, -0.36, 0.09, 0.1, _WHITE)


_CHARACTERS = {"alice": _alice, "bob": _bob, "carol": _carol, "dave": _dave, "erin": _erin, "frank": _frank}


def _doctor(pen: Pen) -> None:
    _body(pen, _WHITE)
    pen.box(-0.1, 0.2, 0.1, 0.8, (220, 30, 40))
    pen.box(-0.32, 0.4, 0.32, 0.6, (220, 30, 40))


def _pilot(pen: Pen) -> None:
    _body(pen, (24, 34, 88))
    pen.box(-0.56, 0.4, 0.56, 0.62, (250, 214, 40))


def _farmer(pen: Pen) -> None:
    _body(pen, (104, 166, 222))
    for x in (-0.3, 0.3):
        pen.line([(x, 0), (x, 1)], (206, 40, 46), 0.18)


def _chef(pen: Pen) -> None:
    _body(pen, (226, 60, 50))
    pen.poly([(-0.28, 0.14), (0.28, 0.14), (0.42, 1), (-0.42, 1)], _WHITE)


def _guard(pen: Pen) -> None:
    _body(pen, (56, 58, 64))
    for y in (0.25, 0.5, 0.75):
        pen.oval(0, y, 0.12, 0.1, (250, 214, 40))


def _gardener(pen: Pen) -> None:
    _body(pen, (130, 86, 46))
    pen.poly([(-0.28, 0.14), (0.28, 0.14), (0.42, 1), (-0.42, 1)], (44, 152, 62))


def _teacher(pen: Pen) -> None:
    _body(pen, (128, 128, 134))
    pen.poly([(-0.14, 0), (0.14, 0), (0.2, 0.8), (0, 1), (-0.2, 0.8)], (208, 34, 40))


def _miner(pen: Pen) -> None:
    _body(pen, (246, 150, 30))
    for y in (0.3, 0.66):
        pen.box(-0.66, y, 0.66, y + 0.16, _BLACK)


_DRESSES = {
    "doctor": _doctor,
    "pilot": _pilot,
    "farmer": _farmer,
    "chef": _chef,
    "guard": _guard,
    "gardener": _gardener,
    "teacher": _teacher,
    "miner": _miner,
}


def _profession(pen: Pen, noun: str, hat: bool) -> None:
    _DRESSES[noun](pen)
    _head(pen)
    if hat:
        pen.box(-0.62, -0.74, 0.62, -0.58, _HAT)
        pen.box(-0.36, -1.08, 0.36, -0.66, _HAT)
    else:
        pen.oval(0, -0.5, 0.44, 0.38, _BROWN, 180, 360)


def _mascot(pen: Pen) -> None:
    teal: Colour = (32, 178, 170)
    pen.line([(0, -0.6), (0, -1)], (90, 90, 96), 0.1)
    pen.oval(0, -0.98, 0.14, 0.14, (240, 120, 180))
    pen.box(-0.6, -0.72, 0.6, 0.12, teal)
    pen.box(-0.4, 0.2, 0.4, 1, (22, 128, 124))
    for x in (-0.26, 0.26):
        pen.box(x - 0.15, -0.5, x + 0.15, -0.22, (250, 170, 210))
    pen.box(-0.3, -0.1, 0.3, 0.02, _WHITE)


def _skull(pen: Pen, y: float = 0.0, size: float = 1.0) -> None:
    def at(px: float, py: float) -> tuple[float, float]:
        return px * size, y + py * size

    rim, bone, hole = (30, 28, 34), (250, 248, 236), (20, 18, 24)
    pen.oval(*at(0, -0.2), 0.82 * size, 0.78 * size, rim)
    pen.poly([at(-0.5, 0.2), at(0.5, 0.2), at(0.46, 1), at(-0.46, 1)], rim)
    pen.oval(*at(0, -0.2), 0.72 * size, 0.68 * size, bone)
    pen.poly([at(-0.4, 0.2), at(0.4, 0.2), at(0.36, 0.9), at(-0.36, 0.9)], bone)
    for x in (-0.32, 0.32):
        pen.oval(*at(x, -0.1), 0.24 * size, 0.26 * size, hole)
    pen.poly([at(0, 0.16), at(0.13, 0.42), at(-0.13, 0.42)], hole)
    for x in (-0.16, 0.16):
        pen.line([at(x, 0.56), at(x, 0.9)], hole, 0.1 * size)


def _battle(pen: Pen, skull: bool) -> None:
    for side in (-1, 1):
        pen.line([(-0.9 * side, -0.9), (0.8 * side, 0.8)], (128, 138, 156), 0.2)
        pen.line([(0.3 * side, 0.85), (0.85 * side, 0.3)], (150, 98, 36), 0.2)
        pen.line([(0.6 * side, 0.6), (0.95 * side, 0.95)], (150, 98, 36), 0.2)
    if skull:
        _skull(pen, -0.12, 0.76)


def _graveyard(pen: Pen, skull: bool) -> None:
    pen.box(-0.7, -0.3, 0.7, 0.9, (126, 130, 138))
    pen.oval(0, -0.3, 0.7, 0.66, (126, 130, 138))
    pen.box(-0.95, 0.82, 0.95, 1, (96, 62, 34))
    if skull:
        _skull(pen, -0.06, 0.7)
    else:
        pen.box(-0.08, -0.6, 0.08, 0.4, (70, 74, 82))
        pen.box(-0.34, -0.34, 0.34, -0.16, (70, 74, 82))


def _picnic(pen: Pen) -> None:
    pen.line([(-0.4, -0.2), (-0.3, -0.85), (0.3, -0.85), (0.4, -0.2)], (134, 84, 36), 0.12)
    pen.poly([(-0.6, -0.35), (0.6, -0.35), (0.46, 0.3), (-0.46, 0.3)], (166, 108, 50))
    pen.poly([(-0.75, 0.2), (0.75, 0.2), (1, 1), (-1, 1)], _WHITE)
    for row in range(3):
        for k in range(5):
            if (row + k) % 2 == 0:
                x, y = -0.9 + 0.36 * k, 0.22 + 0.26 * row
                pen.box(x, y, x + 0.36, y + 0.26, (216, 40, 46))


def draw(pen: Pen, scene: Scene) -> None:
    """Draws the scene's subject, whatever is not a thing."""
    if scene.noun in _CHARACTERS:
        _CHARACTERS[scene.noun](pen)
    elif scene.noun in v.PROFESSIONS:
        _profession(pen, scene.noun, bool(scene.hat))
    elif scene.noun == "battle":
        _battle(pen, scene.skull)
    elif scene.noun == "graveyard":
        _graveyard(pen, scene.skull)
    elif scene.noun == "picnic":
        _picnic(pen)
    elif scene.noun == v.SKULL:
        _skull(pen)
    else:
        _mascot(pen)
