"""Does one tuner, editor, site or corpus leave more of the edits than another? Paired tests, cell by cell and over all.

Compared are cells that differ in one thing. The difference of their persistences is tested by swapping the two, edit by
edit: if it made no difference, which of the two cells an edit's pictures come from would be a coin's throw (a paired
permutation test, the clusters being edits). All 2^edits swaps are looked at, or as many as the bootstrap draws. Over
all cells that differ in the one thing, the statistic is the mean difference, and an edit is swapped in all of them at
once. McNemar's test asks the same of single pictures: of those on which the edit had its effect in both cells before
the tuning, and in one alone after it, does either have more? It takes pictures of one edit for independent, so it is
about these edits; the other is about others as well.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar

from holdfast.analysis import statistics, verdicts

FACTORS = {"editor": ["editor"], "tuner": ["tuner"], "site": ["site"], "corpus": ["corpus", "relation"]}
SHARED = ["family", "task", "editor", "tuner", "site", "corpus", "relation"]
COLUMNS = [
    *("factor", "a", "b", *SHARED, "measure", "n_cells", "n_edits", "persistence_a", "persistence_b"),
    *("difference", "ci_low", "ci_high", "p_permutation", "p_holm", "only_a", "only_b", "p_mcnemar", "p_mcnemar_holm"),
]


@dataclass(frozen=True)
class Pair:
    """Two cells on the same edits: `kept` and `full` are float [2, edits], what tuning left of an edit's effect and
    that effect, both times the edit's pictures. only: pictures that kept the edit in the first or second cell alone."""

    edits: list
    kept: np.ndarray
    full: np.ndarray
    only: tuple[int, int] | None

    @property
    def left(self):
        """The two persistences."""
        return self.kept.sum(axis=1) / self.full.sum(axis=1)


def tabulate(tested, *, draws, confidence, seed):
    """One row per pair of cells and measure, and one per pair of levels over all cells (columns: COLUMNS).

    tested: rows of the persistence table at the last tuning step, as `persistence.measured` gives them. draws,
    confidence, seed: of the bootstrap and the random swaps. In a row over all cells what they don't share is empty, and
    the measure is the grid's name (`Measure.grid`).
    """
    rows = []
    known = [one for one in tested if one.measure.grid and not np.isnan(one.row["persistence"])]
    for factor, own in FACTORS.items():
        others = [name for name in SHARED if name not in own]
        groups, pooled = {}, {}
        for one in known:
            groups.setdefault((*(one.row[name] for name in others), one.measure.name), []).append(one)
        for (*shared, measure), cells in groups.items():
            for first, second in combinations(sorted(cells, key=lambda one: one.row[factor]), 2):
                pair = paired(first, second)
                if pair is None or first.row[factor] == second.row[factor]:
                    continue
                levels = (first.row[factor], second.row[factor])
                pooled.setdefault((*levels, first.measure.grid), []).append(pair)
                row = {"factor": factor, "a": levels[0], "b": levels[1], "measure": measure}
                row |= dict(zip(others, shared, strict=True))
                rows.append(row | compared([pair], draws, confidence, seed))
        for (a, b, grid), pairs in pooled.items():
            if len(pairs) > 1:
                row = {"factor": factor, "a": a, "b": b, "measure": grid}
                rows.append(row | compared(pairs, draws, confidence, seed))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table[SHARED] = table[SHARED].astype(object).fillna("")
    grids = list(zip(table["factor"], _grids(table["measure"]), table["n_cells"] > 1, strict=True))
    table["p_holm"] = verdicts.holm(table["p_permutation"], grids)
    table["p_mcnemar_holm"] = verdicts.holm(table["p_mcnemar"], grids)
    return table


def _grids(measures):
    from holdfast.analysis.measures import BY_NAME

    return [BY_NAME[name].grid if name in BY_NAME else name for name in measures]


def paired(first, second):
    """The two cells as a Pair, on the edits that both have; None where there are none."""
    names, kept, full = aligned([first, second])
    if not len(names) or not full.sum(axis=1).all():
        return None
    task = first.row["task"]
    return Pair([(task, name) for name in names], kept, full, _discordant(first, second))


def aligned(cells):
    """The edits that all of some cells have, and what tuning left of an edit's effect and that effect, both times the
    edit's pictures: (names, kept, full), float [cells, edits]."""
    tables = []
    for one in cells:
        units = one.units
        left = units.values["edited_tuned"] - units.values["tuned"]
        full = units.values["edited"] - units.values["base"]
        tables.append(pd.DataFrame({"kept": left * units.weights, "full": full * units.weights}, index=units.names))
    names = [name for name in tables[0].index if all(name in other.index for other in tables[1:])]
    kept, full = (np.stack([table.loc[names, column] for table in tables]) for column in ("kept", "full"))
    return names, kept, full


def _discordant(first, second):
    """How many of the pictures on which both edits had their effect kept it in one cell alone; None if none can."""
    if first.kept is None or second.kept is None:
        return None
    a, b = first.kept.align(second.kept, join="inner")
    return int((a > b).sum()), int((a < b).sum())


def compared(pairs, draws, confidence, seed):
    """The mean difference of some pairs, as a dict: from `n_cells` to `p_mcnemar` of COLUMNS."""
    edits = list(dict.fromkeys(edit for pair in pairs for edit in pair.edits))
    at = {edit: n for n, edit in enumerate(edits)}
    places = [np.array([at[edit] for edit in pair.edits]) for pair in pairs]
    left = np.mean([pair.left for pair in pairs], axis=0)
    difference = float(left[0] - left[1])
    drawn = _redrawn(pairs, places, edits, draws, seed)
    strata = len({task for task, _ in edits})
    low, high = statistics.interval(difference, drawn, len(edits) - strata + 1, confidence)
    row = {"n_cells": len(pairs), "n_edits": len(edits), "persistence_a": left[0], "persistence_b": left[1]}
    row |= {"difference": difference, "ci_low": low, "ci_high": high}
    row["p_permutation"] = permuted(pairs, places, len(edits), difference, draws, seed)
    if all(pair.only is not None for pair in pairs):
        only_a, only_b = (int(sum(pair.only[n] for pair in pairs)) for n in (0, 1))
        row |= {"only_a": only_a, "only_b": only_b}
        row["p_mcnemar"] = mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a + only_b else 1.0
    return row


def _redrawn(pairs, places, edits, draws, seed):
    """Bootstrap draws of the mean difference."""
    times = redraws(edits, draws, seed)
    sums = [(times[:, at] @ pair.kept.T, times[:, at] @ pair.full.T) for pair, at in zip(pairs, places, strict=True)]
    return _mean_difference(sums)


def redraws(edits, draws, seed):
    """How often each edit is drawn, float [draws, edits]: those of each task with replacement, alike in all its cells.

    edits: (task, name) of each.
    """
    times = np.zeros((draws, len(edits)))
    tasks = np.array([task for task, _ in edits])
    for n, task in enumerate(dict.fromkeys(tasks)):
        mine = np.flatnonzero(tasks == task)
        times[:, mine] = statistics.counts(len(mine), draws, seed + n)
    return times


def permuted(pairs, places, edits, observed, draws, seed):
    """Two-sided p-value of the mean difference under swaps of the two cells, edit by edit."""
    exact = edits < 63 and 2**edits <= draws
    if exact:
        swaps = (np.arange(2**edits)[:, None] >> np.arange(edits) & 1).astype(float)
    else:
        swaps = np.random.default_rng(seed).integers(2, size=(draws, edits)).astype(float)
    sums = []
    for pair, at in zip(pairs, places, strict=True):
        both = []
        for values in (pair.kept, pair.full):
            moved = swaps[:, at] @ (values[1] - values[0])
            both.append(np.stack([values[0].sum() + moved, values[1].sum() - moved], axis=1))
        sums.append(tuple(both))
    as_far = np.abs(_mean_difference(sums)) >= abs(observed) - 1e-12
    return float(as_far.mean()) if exact else float((1 + as_far.sum()) / (1 + draws))


def _mean_difference(sums):
    """The mean over pairs of the difference of persistences, from each pair's (kept, full), [draws, 2]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean([np.subtract(*(kept / full).T) for kept, full in sums], axis=0)
