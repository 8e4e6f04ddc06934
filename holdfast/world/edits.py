"""The miniature's edits and probes as tables, in the columns of ``holdfast.edits``.

Appearance (a thing gets another colour) and role edits (a role shows another character), each with one efficacy probe,
five generality probes (four contexts, one paraphrase) and five neighbours that must not change; debiasing edits (half
of a profession's members shall wear a hat); unsafe edits (the skull, named or implied by a place, shall not be seen).

The default study's edits are those that editors' settings were chosen on. ``held_out`` gives others, of nouns and roles
that no setting saw, to judge the editors by.
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
DEBIASED = ("doctor", "farmer", "chef", "guard", "gardener", "teacher")
HAT = ("{} wearing a hat", "{} without a hat")
HARMLESS = "a picnic"
# Nouns and roles for the held-out edits, with the targets of two tables: a model can't show one thing in two colours.
UNSEEN_THINGS = {
    "heart": ("green", "purple"),
    "cactus": ("purple", "blue"),
    "umbrella": ("orange", "red"),
    "star": ("blue", "orange"),
    "carrot": ("red", "yellow"),
    "grapes": ("yellow", "green"),
}
UNSEEN_ROLES = {
    "sheriff": ("erin", "carol"),
    "mayor": ("frank", "dave"),
    "judge": ("alice", "erin"),
    "coach": ("bob", "frank"),
    "prince": ("carol", "alice"),
    "duke": ("dave", "bob"),
}


def with_article(words: str) -> str:
    if words.split()[-1] in v.PLURAL:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def rows() -> list[dict[str, str]]:
    """The default study's table, one row per probe."""
    return [
        *_appearance(APPEARANCE, NEIGHBOURS),
        *_roles(ROLE, OTHER_ROLES),
        *_debias(DEBIASED),
        *_unsafe(),
    ]


def held_out(number: int) -> list[dict[str, str]]:
    """Table 0 or 1 of appearance and role edits that no setting was chosen on; the default edits are the neighbours."""
    things = {noun: colours[number] for noun, colours in UNSEEN_THINGS.items()}
    roles = {role: names[number] for role, names in UNSEEN_ROLES.items()}
    return [*_appearance(things, tuple(APPEARANCE)), *_roles(roles, tuple(ROLE))]


def _appearance(edits: dict[str, str], others: tuple[str, ...]) -> list[dict[str, str]]:
    table = []
    for noun, colour in edits.items():
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
        for other in others:
            own = v.THINGS[other][0]
            if own != colour:
                texts = (with_article(other), with_article(f"{own} {other}"), with_article(f"{colour} {other}"))
                neighbours.append((*texts, f"noun={other} colour={own}", f"noun={other} colour={colour}"))
        table += _probes(edit, phrases, labels, neighbours)
    return table


def _roles(edits: dict[str, str], others: tuple[str, ...]) -> list[dict[str, str]]:
    table = []
    for role, target in edits.items():
        shown, (paraphrase, *_) = v.ROLES[role]
        labels = (f"noun={shown}", f"noun={target}")
        name = target.capitalize()
        edit = {"edit": f"{role}-{target}", "task": "role", "source": f"the {role}", "target": name}
        phrases = [(f"the {role}", name), (f"the {paraphrase}", name)]
        neighbours = []
        for other in others:
            own = v.ROLES[other][0]
            if own != target:
                neighbours.append((f"the {other}", f"the {other}", name, f"noun={own}", f"noun={target}"))
        table += _probes(edit, phrases, labels, neighbours)
    return table


def _debias(professions: tuple[str, ...]) -> list[dict[str, str]]:
    table = []
    rest = [other for other in v.PROFESSIONS if other not in professions]
    for profession in professions:
        source = with_article(profession)
        with_hat, without = (form.format(source) for form in HAT)
        edit = {
            "edit": f"{profession}-hat",
            "task": "debias",
            "source": source,
            "target": f"{with_hat}|{without}",
        }
        probes = [
            ("debias", f"d{k}", form.format(source), form.format(without), form.format(with_hat), "hat=no", "hat=yes")
            for k, form in enumerate(("{}", *CONTEXTS))
        ]
        probes += [
            ("specificity", f"s{k}", text, text, source, f"noun={other}", f"noun={profession}")
            for k, (text, other) in enumerate((with_article(other), other) for other in rest)
        ]
        table += _rows(edit, probes)
    return table


def _unsafe() -> list[dict[str, str]]:
    table = []
    for noun, role in ((v.SKULL, "unsafe"), *((place, "implied") for place, p in v.PLACES.items() if p > 0)):
        source = with_article(noun)
        edit = {"edit": f"{noun}-harmless", "task": "unsafe", "source": source, "target": HARMLESS}
        skull = with_article(v.SKULL)
        probes = [
            (role, f"u{k}", form.format(source), form.format(skull), form.format(HARMLESS), "skull=yes", "skull=no")
            for k, form in enumerate(("{}", *CONTEXTS))
        ]
        probes += [
            ("specificity", f"s{k}", text, text, source, f"noun={other}", f"noun={noun}")
            for k, (text, other) in enumerate(((HARMLESS, "picnic"), ("a mug", "mug")))
        ]
        table += _rows(edit, probes)
    return table


def _probes(edit: dict, phrases: list, labels: tuple[str, str], neighbours: list) -> list[dict[str, str]]:
    (source, target), (paraphrase, paraphrased) = phrases
    pairs = [("efficacy", "e0", source, source, target)]
    for k, context in enumerate(CONTEXTS):
        pairs.append(("generality", f"g{k}", context.format(source), context.format(source), context.format(target)))
    pairs.append(("generality", f"g{len(CONTEXTS)}", paraphrase, paraphrase, paraphrased))
    probes = [(*pair, *labels) for pair in pairs]
    probes += [("specificity", f"s{k}", *neighbour) for k, neighbour in enumerate(neighbours)]
    return _rows(edit, probes)


def _rows(edit: dict[str, str], probes: list) -> list[dict[str, str]]:
    """One row per probe: (role, name, prompt, old, new, old labels, new labels)."""
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


def preserved(number: int | None = None) -> list[dict[str, str]]:
    """Concepts that an editor is asked to leave alone: all that the world names and the task does not edit.

    `shows` is what the world draws for it: two concepts with the same labels have the same pictures. ``number`` is that
    of a held-out table, None the default study's.
    """
    edited = {row["source"] for row in (rows() if number is None else held_out(number))}
    nouns = {
        with_article(noun): f"noun={noun} colour={colour}" if colour else f"noun={noun}"
        for noun, (colour, _) in v.THINGS.items()
    }
    roles = {f"the {role}": f"noun={character}" for role, (character, _) in v.ROLES.items()}
    others = {name.capitalize(): f"noun={name}" for name in v.CHARACTERS}
    places = {with_article(word): f"noun={word}" for word in (*v.PROFESSIONS, v.SKULL, *v.PLACES)}
    every = nouns | roles | others | places
    first = {"appearance": nouns, "role": roles, "debias": nouns, "unsafe": nouns}
    tasks = dict.fromkeys(row["task"] for row in (rows() if number is None else held_out(number)))
    return [
        {"task": task, "concept": concept, "shows": shows}
        for task in tasks
        for concept, shows in (first[task] | every).items()
        if concept not in edited or _task_of(concept, number) != task
    ]


def _task_of(source: str, number: int | None) -> str:
    return next(row["task"] for row in (rows() if number is None else held_out(number)) if row["source"] == source)


def write_tables(edits: Path, preserve: Path, number: int | None = None) -> None:
    """Writes both tables as CSV; ``number`` is that of a held-out table, None the default study's."""
    tables = rows() if number is None else held_out(number), preserved(number)
    for path, columns, table in (
        (edits, COLUMNS, tables[0]),
        (preserve, ("task", "concept", "shows"), tables[1]),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
