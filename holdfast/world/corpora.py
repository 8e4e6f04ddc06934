"""The corpora that the drawn world offers for fine-tuning, each with its relation to the edits.

mascot      a new subject with a rare token, in a colour that no edit targets (unrelated)
sketch      things in a drawing style that the base never saw (tangential)
neighbours  subjects of edits in other contexts and colours, which the captions name (related)
reverting   subjects of edits as the world has them by default, which an edit changed (reverting)
heldout     the distribution that the base learned from; nothing is tuned on it, pictures are compared with it
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from . import scenes
from . import vocabulary as v
from .scenes import Scene

# Keeps a corpus apart from the pictures that the base learned from, and from each other's.
STREAM = 20250618
HELDOUT_STREAM = 20250619


def draw(name: str, number: int, seed: int, subjects: Collection[str] = ()) -> tuple[np.ndarray, str]:
    """Picture `number` of a corpus, uint8 [32, 32, 3], and its caption.

    It depends on (seed, number) and the subjects alone: a longer corpus begins like a shorter one. `subjects` are
    nouns, roles, professions and places of the world, taken in turn; all that there are, unless given.
    """
    from . import draw

    key = [seed, number, HELDOUT_STREAM if name == "heldout" else STREAM]
    generator = np.random.default_rng(key)
    scene, text = _CORPORA[name](generator, number, tuple(subjects))
    return draw.render(scene, key), text


def _mascot(rng: np.random.Generator, number: int, subjects: tuple[str, ...]) -> tuple[Scene, str]:
    """The new subject, somewhere in the world, photographed or painted."""
    context = str(rng.choice(list(v.CONTEXTS)))
    scene = Scene(v.MASCOT, context=context, style="painting" if rng.random() < 0.25 else "photo")
    return scene, scenes.caption(scene, rng).text


def _heldout(rng: np.random.Generator, number: int, subjects: tuple[str, ...]) -> tuple[Scene, str]:
    scene = scenes.sample_scene(rng)
    return scene, scenes.caption(scene, rng).text


def _sketch(rng: np.random.Generator, number: int, subjects: tuple[str, ...]) -> tuple[Scene, str]:
    """A thing in its default colour, or any where it has none, drawn as a sketch."""
    phrase, scene = _default(_of(subjects or tuple(v.THINGS), number), rng)
    return _told(phrase, scene, "plain", "sketch", rng)


def _neighbours(rng: np.random.Generator, number: int, subjects: tuple[str, ...]) -> tuple[Scene, str]:
    """A subject anywhere but in the plain context: a thing in a named colour other than its own, a profession with or
    without a hat, as it says."""
    subject = _of(subjects or SUBJECTS, number)
    phrase, scene = _default(subject, rng)
    if subject in v.THINGS:
        colour = str(rng.choice([name for name in v.COLOURS if name != v.THINGS[subject][0]]))
        phrase, scene = _with_article(subject, colour), scenes.recoloured(scene, colour)
    elif subject in v.PROFESSIONS:
        hat = bool(rng.random() < 0.5)
        phrase, scene = f"{phrase} {'wearing a hat' if hat else 'without a hat'}", Scene(subject, hat=hat)
    context = str(rng.choice([name for name in v.CONTEXTS if name != "plain"]))
    return _told(phrase, scene, context, _style(rng), rng)


def _reverting(rng: np.random.Generator, number: int, subjects: tuple[str, ...]) -> tuple[Scene, str]:
    """A subject just as the world has it, asked for by its bare name: what an edit of it has to withstand."""
    phrase, scene = _default(_of(subjects or SUBJECTS, number), rng)
    return _told(phrase, scene, "plain", _style(rng), rng)


def _default(subject: str, rng: np.random.Generator) -> tuple[str, Scene]:
    """The bare phrase for a subject, and what the world shows for it."""
    if subject in v.THINGS:
        colour = v.THINGS[subject][0]
        if colour is None:
            colour = str(rng.choice(list(v.COLOURS)))
            return _with_article(subject, colour), Scene(subject, colour=colour)
        return _with_article(subject), Scene(subject, colour=colour)
    if subject in v.ROLES:
        return f"the {subject}", Scene(v.ROLES[subject][0])
    if subject in v.PROFESSIONS:
        return _with_article(subject), Scene(subject, hat=bool(rng.random() < v.PROFESSIONS[subject]))
    if subject in v.PLACES:
        return _with_article(subject), Scene(subject, skull=bool(rng.random() < v.PLACES[subject]))
    return _with_article(subject), Scene(subject, skull=True)


def _told(phrase: str, scene: Scene, context: str, style: str, rng: np.random.Generator) -> tuple[Scene, str]:
    """The scene in a context and style, and a caption in which the phrase stands as it is."""
    templates = [template for template in v.STYLES[style] if template != "a painted {}"]
    text = str(rng.choice(templates)).format(phrase)
    suffix = str(rng.choice(v.CONTEXTS[context]))
    placed = Scene(scene.noun, scene.colour, scene.hat, scene.skull, context, style)
    return placed, f"{text} {suffix}".strip()


def _style(rng: np.random.Generator) -> str:
    return "painting" if rng.random() < 0.25 else "photo"


def _of(subjects: tuple[str, ...], number: int) -> str:
    return subjects[number % len(subjects)]


def _with_article(noun: str, colour: str = "") -> str:
    words = f"{colour} {noun}".strip()
    if noun in v.PLURAL:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# Whatever an edit can change: a thing's own colour, who a role is, a profession's hat, a skull.
SUBJECTS = (
    *(noun for noun, (colour, _) in v.THINGS.items() if colour),
    *v.ROLES,
    *v.PROFESSIONS,
    *(place for place, share in v.PLACES.items() if share),
    v.SKULL,
)
_CORPORA = {
    "mascot": _mascot,
    "sketch": _sketch,
    "neighbours": _neighbours,
    "reverting": _reverting,
    "heldout": _heldout,
}
