"""The pictures for the page: of every edit and probe a grid of states, all drawn from the same prompt and noise."""

import base64

from holdfast.report import arrange, places, words
from holdfast.report.pictures import ROLES


def arrange_pictures(table, budget):
    """Nested for the template: family and task -> edits -> probes -> grid of states; and how many edits were left out.

    table: the pictures tables of all families. budget: bytes of pictures that the page may hold.
    """
    table = table.assign(size=table["webp"].map(len))
    sizes = table.groupby(["family", "task", "edit"], sort=False)["size"].sum()
    # Take turns between the tasks, so that a full page loses the last edits of each and not the last task.
    turns = sizes.groupby(["family", "task"], sort=False).cumcount().sort_values(kind="stable").index
    kept = sizes.loc[turns].cumsum() <= budget
    chosen = set(kept[kept].index)
    groups = []
    for family in dict.fromkeys(table["family"]):
        mine = table[table["family"] == family]
        for task in arrange.tasks(mine["task"]):
            edits = mine[mine["task"] == task].groupby("edit", sort=False)
            own = [_edit(one) for name, one in edits if (family, task, name) in chosen]
            groups.append({"family": family, "task": task, "edits": own})
    return groups, int((~kept).sum())


def _edit(table):
    first = table.iloc[0]
    states = table.drop_duplicates("lineage").to_dict("records")
    labels, columns, at = arrange.grid(states)
    tuned = {label: places.pictures(row) for label, row in places.tuned(states).items()}
    probes = []
    for _, part in table.groupby("probe", sort=False):
        by_state = {
            name: [_picture(row) for _, row in one.sort_values("seed").iterrows()]
            for name, one in part.groupby("lineage")
        }
        rows = [
            {"label": label, "cells": [by_state.get(at.get((label, name), {}).get("lineage"), []) for name in columns]}
            for label in labels
        ]
        probes.append({"role": part.iloc[0]["role"], "prompt": part.iloc[0]["prompt"], "rows": rows})
    probes.sort(key=lambda probe: ROLES.index(probe["role"]) if probe["role"] in ROLES else len(ROLES))
    names = {"id": first["edit"], "source": first["source"], "target": first["target"] or "nothing", "tuned": tuned}
    return {**names, "columns": columns, "probes": probes, "pictures": len(table)}


def _picture(row):
    meaning = words.OUTCOMES.get(row["task"], {}) if row["role"] != "specificity" else {}
    return {
        "uri": "data:image/webp;base64," + base64.b64encode(row["webp"]).decode("ascii"),
        "seed": row["seed"],
        "outcome": row["outcome"] or "unscored",
        "meaning": meaning.get(row["outcome"], row["outcome"] or "unscored"),
    }
