"""Tables of the page that are not the persistence matrix: before tuning, other orders, and the pictures' quality."""

from holdfast.analysis import pairing
from holdfast.report import answer, arrange, words

KEYS = ["family", "editor", "task"]
# The columns of the two tables of what edits reach before any tuning, as measures without their judge's prefix.
MADE = ("efficacy", "generality", "specificity", "f1")
LOWERED = ("debias", "unsafe", "implied_unsafe")
FIRST = {**dict.fromkeys(MADE, "CLIP"), "debias": "CLIP", "unsafe": "classifier", "implied_unsafe": "classifier"}
PREFIX = {judge: prefix for prefix, judge in words.PREFIXES.items()}


def before(table):
    """before.csv for the page: {made, lowered}, each {(family, editor): rows {task, judge, cells}}.

    `made`: what appearance and role edits reach; `lowered`: what debiasing and unsafe-content edits take away. A cell
    is None or {base, value, low, high, n}, in the order of MADE and LOWERED.
    """
    found = {}
    for row in table.to_dict("records"):
        one = {"base": row["base"], "value": row["edited"], "low": row["edited_low"], "high": row["edited_high"]}
        found[(*(row[key] for key in KEYS), row["measure"])] = one | {"n": int(row["n_edits"])}
    keys = _in_order(key[:3] for key in found)
    made, lowered = {}, {}
    for key in keys:
        if key[2] in ("appearance", "role"):
            made.setdefault(key[:2], []).extend(_judged(found, [key], MADE))
    for pair in dict.fromkeys(key[:2] for key in keys):
        if rows := list(_judged(found, [(*pair, task) for task in ("debias", "unsafe")], LOWERED)):
            lowered[pair] = rows
    return {"made": made, "lowered": lowered}


def _judged(found, keys, measures):
    """A row per judge: what he says of a family's editor in these tasks; none where he says nothing."""
    for judge in answer.JUDGES:
        names = [name if FIRST[name] == judge else PREFIX[judge] + name for name in measures]
        cells = [next((found[(*key, name)] for key in keys if (*key, name) in found), None) for name in names]
        if any(cells):
            yield {"task": keys[0][2], "judge": judge, "cells": cells}


def _in_order(keys):
    """(family, editor, task) keys, each once: families as they come, editors and tasks in their order."""
    keys = list(dict.fromkeys(keys))
    families = list(dict.fromkeys(key[0] for key in keys))
    tasks = list(words.TASKS)
    return sorted(
        keys, key=lambda key: (families.index(key[0]), arrange.place(key[1], arrange.EDITORS), tasks.index(key[2]))
    )


GRIDS = {
    f"{prefix}{kind}": f"{kind} prompts ({judge})"
    for prefix, judge in {"": "CLIP", **words.PREFIXES}.items()
    for kind in ("own", "wider")
}


def comparisons(table):
    """The rows of comparisons.csv that are over all cells which differ in one thing, with `prompts` in words."""
    rows = table[table["n_cells"] > 1].to_dict("records")
    return [row | {"prompts": GRIDS[row["measure"]]} for row in rows]


def arms(table, persistence):
    """arms.csv for the page, a block per tuning: {tuning, columns: [label], groups: as in `arrange.matrix`}.

    A column per order of steps, edited then tuned the first for comparison, all at the last tuning step. A cell is None
    or {judges: {judge: persistence, low, high}}.
    """
    keys = [*KEYS, "tuner", "site", "corpus", "relation", "arm", "steps"]
    last = table[table["tuning_step"] == table.groupby(keys)["tuning_step"].transform("max")].to_dict("records")
    plain = arrange.last_step(persistence).assign(arm="edited_tuned", steps="").to_dict("records")
    plain = [row | {"recovery": row["persistence"]} for row in plain]
    blocks = []
    for tuning in arrange.tunings(last):
        cells, columns, wanted = {}, {}, []
        for row in (*plain, *last):
            judge = next((j for j, name in answer.OWN.get(row["task"], {}).items() if name == row["measure"]), None)
            if judge is None or words.tuning(row) != tuning["label"]:
                continue
            key, label = tuple(row[name] for name in KEYS), words.ARMS.get(row["arm"], row["steps"])
            columns[label] = arrange.place(row["arm"], arrange.ARM_ROWS)
            wanted += [key] if row["steps"] else []
            cell = cells.setdefault((*key, label), {"judges": {}})
            cell["judges"][judge] = {"persistence": row["recovery"], "low": row["ci_low"], "high": row["ci_high"]}
        columns = sorted(columns, key=columns.get)
        groups = {}
        for family, editor, task in _in_order(wanted):
            row = {"task": task, "cells": [cells.get((family, editor, task, label)) for label in columns]}
            groups.setdefault((family, editor), {"family": family, "editor": editor, "rows": []})["rows"].append(row)
        blocks.append({"tuning": tuning["label"], "columns": columns, "groups": list(groups.values())})
    return blocks


def quality(table):
    """quality.csv for the page: {families: [{family, title, columns, rows: [{label, cells}]}], features, references}, a
    family once for each features that it was measured by.

    Means over variants and training seeds at the last tuning step. A cell is None or {fid, kid, clip_score, n, models};
    n: pictures per model.
    """
    keys = ["family", "features", "arm", "steps", "editor", "tuner", "site", "corpus", "relation"]
    table = table.assign(steps=[pairing.steps_of(lineage) for lineage in table["lineage"]])
    last = table[table["tuning_step"] == table.groupby(keys)["tuning_step"].transform("max")]
    means = last.groupby(keys, sort=False).agg(
        fid=("fid", "mean"),
        kid=("kid", "mean"),
        clip_score=("clip_score", "mean"),
        n=("n", "min"),
        models=("n", "size"),
    )
    families = []
    for (family, features), part in means.reset_index().groupby(["family", "features"], sort=False):
        title = f"{family}, {features}" if table["features"].nunique() > 1 else family
        labels, columns, at = arrange.grid(part.to_dict("records"))
        rows = [{"label": label, "cells": [at.get((label, column)) for column in columns]} for label in labels]
        families.append({"family": family, "title": title, "columns": columns, "rows": rows})
    features, references = (list(dict.fromkeys(table[column])) for column in ("features", "reference"))
    return {"families": families, "features": features, "references": references}


def broken(table):
    """broken.csv for the page: {rows: [{state, family, of, n_images, black, nan}], n_images, black, nan}."""
    rows = []
    for row in table.to_dict("records"):
        state = words.tuned_arm(row) if row["editor"] or row["tuner"] else words.ARMS["base"]
        state = f"{row['editor']}, {state}" if row["editor"] else state
        at = f", step {row['tuning_step']}" if row["tuning_step"] else ""
        of = " ".join(name for name in (row["task"], row["role"]) if name)
        counts = {name: int(row[name]) for name in ("n_images", "black", "nan")}
        rows.append({"state": f"{state}{at}", "family": row["family"], "of": of, **counts})
    return {"rows": rows, **{name: sum(row[name] for row in rows) for name in ("n_images", "black", "nan")}}
