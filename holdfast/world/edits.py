"""The miniature's edits and probes as tables, in the columns of ``holdfast.edits``.

Six appearance edits (a thing gets another colour) and six role edits (a role shows another character), each with one
efficacy probe, five generality probes (four contexts, one paraphrase) and five neighbours that must not change.
"""

from __future__ import annotations

import csv
from pathlib import Path

from . import vocabulary as v

COLUMNS = ("edit", "task", "source", "target", "role", "probe", "prompt", "old", "new", "old_labels", "new_labels")

APPEARANCE = {
    "rose": "blue",
    "leaf": "orange",
    "fish": "red",
    "banana": "purple",
    "pumpkin": "green",
    "plum": "yellow",
}
NEIGHBOURS = ("heart", "cactus", "umbrella", "star", "carrot", "grapes")
ROLE = {"king": "bob", "queen": "carol", "knight": "dave", "wizard": "erin", "captain": "frank", "jester": "alice"}
OTHER_ROLES = ("sheriff", "mayor", "judge", "coach", "prince", "duke")
CONTEXTS = ("a painting of {}", "{} at night", "{} on the beach", "{} in a garden")


def with_article(words: str) -> str:
    if words.split()[-1] in v.PLURAL:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def rows() -> list[dict[str, str]]:
    """One row per probe: 12 edits x 11 probes."""
    table = []
    for noun, colour in APPEARANCE.items():
        default, (paraphrase, *_) = v.THINGS[noun]
        labels = (f"noun={noun} colour={default}", f"noun={noun} colour={colour}")
        edit = {
            "edit": f"{noun}-{colour}",
            "task": "appearance",
            "source": with_article(noun),
            "target": with_article(f"{colour} {noun}"),
        }
        phrases = [
            (with_article(noun), with_article(f"{colour} {noun}")),
            (with_article(paraphrase), with_article(f"{colour} {paraphrase}")),
        ]
        neighbours = []
        for other in NEIGHBOURS:
            own = v.THINGS[other][0]
            if own != colour:
                texts = (with_article(other), with_article(f"{own} {other}"), with_article(f"{colour} {other}"))
                neighbours.append((*texts, f"noun={other} colour={own}", f"noun={other} colour={colour}"))
        table += _probes(edit, phrases, labels, neighbours)
    for role, target in ROLE.items():
        shown, (paraphrase, *_) = v.ROLES[role]
        labels = (f"noun={shown}", f"noun={target}")
        name = target.capitalize()
        edit = {"edit": f"{role}-{target}", "task": "role", "source": f"the {role}", "target": name}
        phrases = [(f"the {role}", name), (f"the {paraphrase}", name)]
        neighbours = []
        for other in OTHER_ROLES:
            own = v.ROLES[other][0]
            if own != target:
                neighbours.append((f"the {other}", f"the {other}", name, f"noun={own}", f"noun={target}"))
        table += _probes(edit, phrases, labels, neighbours)
    return table


def _probes(edit: dict, phrases: list, labels: tuple[str, str], neighbours: list) -> list[dict[str, str]]:
    (source, target), (paraphrase, paraphrased) = phrases
    pairs = [("efficacy", "e0", source, source, target)]
    for k, context in enumerate(CONTEXTS):
        pairs.append(("generality", f"g{k}", context.format(source), context.format(source), context.format(target)))
    pairs.append(("generality", f"g{len(CONTEXTS)}", paraphrase, paraphrase, paraphrased))
    probes = [(*pair, *labels) for pair in pairs]
    probes += [("specificity", f"s{k}", *neighbour) for k, neighbour in enumerate(neighbours)]
    return [
        {
            **edit,
            "role": role,
            "probe": f"{edit['edit']}-{name}",
            "prompt": prompt,
            "old": old,
            "new": new,
            "old_labels": old_labels,
            "new_labels": new_labels,
        }
        for role, name, prompt, old, new, old_labels, new_labels in probes
    ]


def preserved() -> list[dict[str, str]]:
    """Concepts that an editor is asked to leave alone: all that the world names and the task does not edit.

    `shows` is what the world draws for it: two concepts with the same labels have the same pictures.
    """
    nouns = {
        with_article(noun): f"noun={noun} colour={colour}" if colour else f"noun={noun}"
        for noun, (colour, _) in v.THINGS.items()
    }
    roles = {f"the {role}": f"noun={character}" for role, (character, _) in v.ROLES.items()}
    others = {name.capitalize(): f"noun={name}" for name in v.CHARACTERS}
    others |= {with_article(word): f"noun={word}" for word in (*v.PROFESSIONS, v.SKULL, *v.PLACES)}
    appearance = {c: s for c, s in (nouns | roles | others).items() if c not in map(with_article, APPEARANCE)}
    role = {c: s for c, s in (roles | nouns | others).items() if c.removeprefix("the ") not in ROLE}
    return [
        {"task": task, "concept": concept, "shows": shows}
        for task, table in (("appearance", appearance), ("role", role))
        for concept, shows in table.items()
    ]


def write_tables(edits: Path, preserve: Path) -> None:
    """Writes both tables as CSV."""
    for path, columns, table in ((edits, COLUMNS, rows()), (preserve, ("task", "concept", "shows"), preserved())):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
