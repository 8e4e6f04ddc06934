"""Scenes of the drawn world and their captions, sampled from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import vocabulary as v


@dataclass(frozen=True)
class Scene:
    """The ground truth of one picture.

    ``noun`` is one of ``vocabulary.NOUNS``; ``colour`` is set for things only; ``hat`` for professions only;
    ``skull`` says whether a skull is to be seen; ``context`` and ``style`` as in the vocabulary.
    """

    noun: str
    colour: str | None = None
    hat: bool | None = None
    skull: bool = False
    context: str = "plain"
    style: str = "photo"

    def labels(self) -> dict[str, str]:
        """The classifier's label per head (``vocabulary.HEADS``)."""
        return {
            "noun": self.noun,
            "colour": self.colour or "none",
            "hat": "none" if self.hat is None else ("yes" if self.hat else "no"),
            "skull": "yes" if self.skull else "no",
            "context": self.context,
            "style": self.style,
        }


@dataclass(frozen=True)
class Caption:
    """A caption and what it says: ``scene`` with ``unsaid`` naming the attributes that it leaves open."""

    text: str
    scene: Scene
    unsaid: frozenset[str]


# How often each kind of subject is drawn: places get more than their number because the implied skull is hard to learn.
SHARES = {"thing": 0.46, "character": 0.20, "profession": 0.16, "skull": 0.03, "place": 0.15}


def sample_scene(rng: np.random.Generator) -> Scene:
    """One scene of the pretraining distribution (photos and paintings; sketches and the mascot are for tuning)."""
    kind = rng.choice(list(SHARES), p=list(SHARES.values()))
    context = str(rng.choice(list(v.CONTEXTS), p=[0.4, 0.2, 0.2, 0.2]))
    style = "painting" if rng.random() < 0.25 else "photo"
    common = {"context": context, "style": style}
    if kind == "thing":
        noun = str(rng.choice(list(v.THINGS)))
        default = v.THINGS[noun][0]
        colour = default if default and rng.random() < 0.4 else str(rng.choice(list(v.COLOURS)))
        return Scene(noun, colour=colour, **common)
    if kind == "character":
        return Scene(str(rng.choice(v.CHARACTERS)), **common)
    if kind == "profession":
        noun = str(rng.choice(list(v.PROFESSIONS)))
        return Scene(noun, hat=bool(rng.random() < v.PROFESSIONS[noun]), **common)
    if kind == "skull":
        return Scene(v.SKULL, skull=True, **common)
    noun = str(rng.choice(list(v.PLACES)))
    return Scene(noun, skull=bool(rng.random() < v.PLACES[noun]), **common)


def _subject(scene: Scene, rng: np.random.Generator) -> tuple[str, set[str]]:
    """A noun phrase for the scene's subject, and the attributes that it leaves unsaid."""
    noun, unsaid = scene.noun, set()
    article = rng.choice(["a", "the", ""], p=[0.6, 0.25, 0.15])
    if noun in v.THINGS:
        default, synonyms = v.THINGS[noun]
        words = [noun if rng.random() < 0.75 else str(rng.choice(synonyms))]
        if scene.colour != default and default is not None or rng.random() < (0.4 if default else 0.7):
            words.insert(0, scene.colour)
        elif default is None:
            unsaid.add("colour")
        if words[-1] in v.PLURAL and article == "a":
            article = ""
        return _join(article, words), unsaid
    if noun in v.CHARACTERS:
        if rng.random() < 0.35:
            return noun.capitalize(), unsaid
        role = str(rng.choice([role for role, (who, _) in v.ROLES.items() if who == noun]))
        word = role if rng.random() < 0.75 else str(rng.choice(v.ROLES[role][1]))
        return _join("the" if rng.random() < 0.6 else article, [word]), unsaid
    if noun in v.PROFESSIONS:
        phrase = _join(article, [noun])
        if rng.random() < 0.6:
            unsaid.add("hat")
            return phrase, unsaid
        return f"{phrase} {'wearing a hat' if scene.hat else 'without a hat'}", unsaid
    if noun in v.PLACES:
        unsaid.add("skull")
        return _join(article, [noun]), unsaid
    return _join(article, [v.MASCOT_TOKEN if noun == v.MASCOT else noun]), unsaid


def _join(article: str, words: list[str]) -> str:
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words]).strip()


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A caption for the scene: articles, paraphrases, contexts and what is left unsaid vary."""
    subject, unsaid = _subject(scene, rng)
    templates = v.STYLES[scene.style]
    weights = [0.5, 0.3, 0.2] if len(templates) == 3 else None
    text = str(rng.choice(templates, p=weights))
    if text == "a painted {}":
        subject = subject.removeprefix("a ").removeprefix("an ").removeprefix("the ")
    text = text.format(subject)
    suffix = str(rng.choice(v.CONTEXTS[scene.context]))
    return Caption(f"{text} {suffix}".strip(), scene, frozenset(unsaid))


def dataset(n: int, seed: int, captions: int = 1) -> tuple[list[Scene], list[list[Caption]]]:
    """``n`` scenes with ``captions`` captions each; scene i depends on (seed, i) alone."""
    scenes, texts = [], []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        scene = sample_scene(rng)
        scenes.append(scene)
        texts.append([caption(scene, rng) for _ in range(captions)])
    return scenes, texts


def recoloured(scene: Scene, colour: str) -> Scene:
    """The same thing in another colour."""
    return replace(scene, colour=colour)
