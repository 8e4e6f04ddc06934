"""Tuners at equal strength: after as many steps, when they changed the weights as much, when they learned as much.

Two tuners at their last steps differ in how they change weights and in how far they went. Here each course of a tuning
is read where both courses have come equally far: by training steps, by the size of the change (`norm` of the causes,
which has one scale for all tuners), or by how much of the corpus' loss is gone (`fit`). Between two snapshots what is
left of an edit is read off a straight line, over the logarithm of steps and of sizes; beyond a course's own snapshots
nothing is read. The place is the furthest that both reach. There the two are compared as cells are
(`comparisons.compared`), edit by edit.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from holdfast.analysis import comparisons, verdicts
from holdfast.analysis.comparisons import Pair
from holdfast.analysis.measures import BY_NAME
from holdfast.analysis.pairing import ARMS, CELL

# Name of a scale -> the measure of causes.csv that it is, and whether it is read by its logarithm.
SCALES = {"steps": (None, True), "size": ("norm", True), "fit": ("fit", False)}
COURSE = CELL[:-1]
SHARED = [name for name in COURSE if name != "tuner"]
COLUMNS = [
    *("scale", "a", "b", *SHARED, "measure", "n_cells", "n_edits", "at", "step_a", "step_b"),
    *("persistence_a", "persistence_b", "difference", "ci_low", "ci_high", "p_permutation", "p_holm"),
]


def reached(causes):
    """How far every snapshot has come: CELL, `norm` and `fit`, means over models and training seeds.

    causes: the table of that name.
    """
    rows = causes[(causes["layer"] == "") & (causes["edit"] == "") & causes["measure"].isin(["norm", "fit"])]
    wide = rows.groupby([*CELL, "measure"], sort=False)["value"].mean().unstack("measure")
    return wide.reindex(columns=["norm", "fit"]).reset_index().rename_axis(columns=None)


def tabulate(causes, persistence, edits, *, draws, confidence, seed):
    """One row per scale, pair of tuners, cell that both have, and measure; one over all cells (columns: COLUMNS).

    causes, persistence, edits: the tables of these names. draws, confidence, seed: of the bootstrap and the random
    swaps. A row over all cells has several cells, and the grid's name as its measure (`Measure.grid`); `at` is empty
    there, and step_a and step_b are means.
    """
    courses = _courses(causes, persistence, edits)
    rows, pooled = [], {}
    for scale, (_, logarithmic) in SCALES.items():
        groups = {}
        for course in courses:
            groups.setdefault((*(course["key"][name] for name in SHARED), course["measure"]), []).append(course)
        for (*shared, measure), mine in groups.items():
            for first, second in combinations(sorted(mine, key=lambda one: one["key"]["tuner"]), 2):
                found = _matched(first, second, scale, logarithmic)
                if found is None:
                    continue
                pair, at, steps = found
                levels = (first["key"]["tuner"], second["key"]["tuner"])
                row = {"scale": scale, "a": levels[0], "b": levels[1], "measure": measure, "at": at}
                row |= dict(zip(SHARED, shared, strict=True)) | {"step_a": steps[0], "step_b": steps[1]}
                rows.append(row | comparisons.compared([pair], draws, confidence, seed))
                pooled.setdefault((scale, *levels, BY_NAME[measure].grid), []).append((pair, steps))
    for (scale, a, b, grid), found in pooled.items():
        if len(found) > 1:
            steps = np.mean([steps for _, steps in found], axis=0)
            row = {"scale": scale, "a": a, "b": b, "measure": grid, "step_a": steps[0], "step_b": steps[1]}
            rows.append(row | comparisons.compared([pair for pair, _ in found], draws, confidence, seed))
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table[SHARED] = table[SHARED].astype(object).fillna("")
    grids = [BY_NAME[name].grid if name in BY_NAME else name for name in table["measure"]]
    table["p_holm"] = verdicts.holm(
        table["p_permutation"], list(zip(table["scale"], grids, table["n_cells"] > 1, strict=True))
    )
    return table


def _courses(causes, persistence, edits):
    """A dict per course and measure that has an effect at all its traced snapshots: `key` (COURSE), `measure`, `places`
    {scale: [snapshots]}, `edits`, and `kept` and `full` [snapshots, edits] as in `Pair`."""
    known = persistence[persistence["persistence"].notna()]
    known = known[[bool(BY_NAME[name].grid) for name in known["measure"]]]
    found = known[[*CELL, "measure"]].merge(reached(causes), on=CELL)
    table = found.merge(edits.drop(columns="persistence"), on=[*CELL, "measure"])
    out = []
    for (*key, measure), part in table.groupby([*COURSE, "measure"], sort=False):
        means = part.groupby(["tuning_step", "edit"])[[*ARMS, "n_images"]].mean()
        weight = 1.0 if BY_NAME[measure].biased else means["n_images"]
        kept = ((means["edited_tuned"] - means["tuned"]) * weight).unstack("edit").dropna(axis=1)
        full = ((means["edited"] - means["base"]) * weight).unstack("edit")[kept.columns]
        if kept.empty:
            continue
        far = part.groupby("tuning_step")[["norm", "fit"]].first()
        places = {"steps": far.index.to_numpy(float), "size": far["norm"].to_numpy(), "fit": far["fit"].to_numpy()}
        course = {"key": dict(zip(COURSE, key, strict=True)), "measure": measure, "places": places}
        out.append(course | {"edits": list(kept.columns), "kept": kept.to_numpy(), "full": full.to_numpy()})
    return out


def _matched(first, second, scale, logarithmic):
    """(Pair, place, steps of both) where two courses have come equally far; None where they never have."""
    places = [course["places"][scale] for course in (first, second)]
    at = min(own[-1] for own in places)
    shared = [name for name in first["edits"] if name in second["edits"]]
    if not all(_rises(own, logarithmic) and own[0] <= at for own in places) or not shared:
        return None
    kept, full, steps = [], [], []
    for course, own in zip((first, second), places, strict=True):
        columns = [course["edits"].index(name) for name in shared]
        ways = np.log(own) if logarithmic else own
        way = np.log(at) if logarithmic else at
        kept.append([np.interp(way, ways, course["kept"][:, column]) for column in columns])
        full.append(course["full"][-1, columns])
        steps.append(float(np.exp(np.interp(way, ways, np.log(course["places"]["steps"])))))
    kept, full = np.array(kept), np.array(full)
    if not full.sum(axis=1).all():
        return None
    return Pair([(first["key"]["task"], name) for name in shared], kept, full, None), float(at), steps


def _rises(places, logarithmic):
    """Whether a course goes one way only, so that a place in it is one place."""
    return bool(np.isfinite(places).all() and (np.diff(places) > 0).all() and (not logarithmic or places[0] > 0))
