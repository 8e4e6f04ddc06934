"""What the page says of other orders of edit and tuning: whether they help, and what they cost the neighbours."""

import math

import numpy as np

from holdfast.report import answer, arrange, words

KEYS = ["family", "editor", "tuner", "site", "corpus", "relation"]
SPECIFICITY = {"CLIP": "specificity", "classifier": "classified_specificity"}
BEFORE = ("base", "edited", "edited_tuned")


def last_step(table):
    """The rows of arms.csv at every state's last tuning step."""
    keys = [*KEYS, "task", "arm", "steps"]
    return table[table["tuning_step"] == table.groupby(keys)["tuning_step"].transform("max")]


def sentences(table):
    """One per order that has `edited_tuned` beside it: what it recovers by each judge, and in how many cells more or
    less.

    table: arms.csv. On the edits' own prompts; more and less by the interval of a cell's difference.
    """
    last = last_step(table).dropna(subset=["recovery", "difference"])
    for arm in sorted(last["arm"].unique(), key=lambda name: arrange.place(name, arrange.ARM_ROWS)):
        told = []
        for judge in answer.JUDGES:
            measure = last["task"].map({task: judges.get(judge) for task, judges in answer.OWN.items()})
            mine = last[(last["arm"] == arm) & (last["measure"] == measure)]
            if len(mine):
                told.append(f"by {'the ' * (judge == 'classifier')}{judge} {_recovered(mine)}")
        if told:
            yield f"{words.arm(arm).capitalize()}, against edited, then tuned, in the median cell: {'; '.join(told)}."


def _recovered(mine):
    there, change = words.percent(mine["recovery"].median()), 100 * np.median(mine["difference"])
    points = f"{words.number(abs(change), 0)} points {'more' if change > 0 else 'less'}"
    changed = "as much as there" if words.number(change, 0) == "0" else points
    more, less = int((mine["difference_low"] > 0).sum()), int((mine["difference_high"] < 0).sum())
    return f"{there} of the effect, {changed} (of {len(mine)} cells clearly more in {more}, clearly less in {less})"


def neighbours(table):
    """What each order leaves of the neighbours: {columns: [label], rows: {family, editor, tuning, judge, cells}}.

    A cell is the share of neighbours' pictures that still show the neighbour, over all tasks; None where that wasn't
    measured. The first columns are base, edited, and edited then tuned; none where the study has no other order.
    """
    labels, rows = dict.fromkeys(words.arm(arm) for arm in BEFORE), {}
    last = last_step(table[table["measure"].isin(SPECIFICITY.values())])
    arms = sorted(last["arm"].unique(), key=lambda name: arrange.place(name, arrange.ARM_ROWS))
    labels |= dict.fromkeys(words.arm(arm) for arm in arms)
    for judge, measure in SPECIFICITY.items():
        for key, part in last[last["measure"] == measure].groupby(KEYS, sort=False):
            cell = dict(zip(KEYS, key, strict=True))
            found = {words.arm(arm): _mean(part, arm) for arm in BEFORE}
            found |= {words.arm(arm): _mean(own, "value") for arm, own in part.groupby("arm")}
            rows[(*key, judge)] = {
                **{name: cell[name] for name in ("family", "editor")},
                "tuning": words.tuning(cell),
                "judge": judge,
                "cells": [found.get(label) for label in labels],
            }
    order = sorted(rows, key=lambda key: (key[0], arrange.place(key[1], arrange.EDITORS), key[2:]))
    return {"columns": list(labels), "rows": [rows[key] for key in order]} if rows else {"columns": [], "rows": []}


def _mean(part, column):
    """Mean over tasks and pictures; None where some task lacks it."""
    own = part.drop_duplicates(["task"]) if column in BEFORE else part
    value = float(np.average(own[column], weights=own["n_images"]))
    return None if math.isnan(value) else value
