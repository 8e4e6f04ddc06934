"""Method or place? Persistence by where the editor wrote and where the tuner wrote, in a balanced design.

UCE writes in the denoiser, ReFACT in the text encoder, and a tuner in either, so editors that are compared under one
tuning differ in method and in place at once. A *design* crosses two editors of different places with the tuners' sites:
only tunings count (task, tuner and corpus) that all its fields have, each on the edits that all of them have. Three
contrasts of its mean persistences are tested:

    editor      first editor less second, averaged over the tuners' sites
    tuner_site  denoiser less text encoder, averaged over the editors
    same_place  tuned where the edit was written less tuned elsewhere, averaged over the editors: the interaction

Each is a mean of differences between two fields, tested as in `comparisons`: the two are swapped edit by edit, in all
tunings at once. For `editor` the null says that it makes no difference which editor made an edit, at either site; for
`tuner_site` which site was tuned, for either editor; for `same_place` that the site matters alike for both, so that
what an edit gains by being tuned elsewhere is as soon negative as positive. Intervals draw the edits of each task, the
same draws for all fields.
"""

import numpy as np
import pandas as pd

from holdfast.analysis import comparisons, statistics, verdicts

PLACES = ("denoiser", "text_encoder")
BOTH = "both"
TUNING = ("task", "tuner", "corpus", "relation")
COLUMNS = [
    *("family", "measure", "editors", "contrast", "editor", "editor_site", "tuner_site", "n_cells", "n_edits", "value"),
    *("ci_low", "ci_high", "p_permutation", "p_holm"),
]


def tabulate(tested, editors, *, draws, confidence, seed):
    """One row per field of every design and grid, and one per contrast (columns: docs/tables.md).

    tested: rows of the persistence table at the last tuning step, as `persistence.measured` gives them. editors: name
    -> {method, site}, in the configuration's order: of several editors of a method the first stands for it. draws,
    confidence, seed: of the bootstrap and the random swaps.
    """
    rows = []
    for (family, grid), fields in _fields(tested).items():
        for design in _designs(fields, editors):
            names = {"family": family, "measure": grid, "editors": "/".join(design)}
            found = _rows(fields, design, editors, draws, confidence, seed)
            rows += [{**dict.fromkeys(COLUMNS, ""), **names, **row} for row in found]
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = COLUMNS[COLUMNS.index("n_cells") :]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    table["p_holm"] = verdicts.holm(table["p_permutation"], list(zip(table["family"], table["measure"], strict=True)))
    return table


def _fields(tested):
    """{(family, grid): {(editor, tuner's site): {tuning and measure: cell}}} of the cells with an effect to lose."""
    found = {}
    for one in tested:
        row = one.row
        if one.measure.grid and not np.isnan(row["persistence"]):
            fields = found.setdefault((row["family"], one.measure.grid), {})
            key = (*(row[name] for name in TUNING), one.measure.name)
            fields.setdefault((row["editor"], row["site"]), {})[key] = one
    return found


def _designs(fields, editors):
    """The editors that stand beside each other: pairs of two places where tunings match, else one by itself."""
    chosen = {}
    for name, editor in editors.items():
        if any(name == known for known, _ in fields):
            chosen.setdefault(editor["method"], name)
    first, second = ([name for name in chosen.values() if editors[name]["site"] == place] for place in PLACES)
    pairs = [(a, b) for a in first for b in second if _balanced(fields, (a, b))[1]]
    paired = {name for pair in pairs for name in pair}
    return [*pairs, *((name,) for name in chosen.values() if name not in paired)]


def _balanced(fields, design):
    """The tuners' sites that a design compares, and the tunings that all its fields have."""
    sites = [site for site in PLACES if any((name, site) in fields for name in design)] or [BOTH]
    tunings = set.intersection(*({*fields.get((name, site), ())} for name in design for site in sites))
    return sites, sorted(tunings)


def _rows(fields, design, editors, draws, confidence, seed):
    sites, tunings = _balanced(fields, design)
    combined = [(name, site) for name in design for site in sites]
    blocks = _blocks(fields, combined, tunings)
    yield from _means(blocks, combined, editors, draws, confidence, seed)
    if BOTH not in sites:
        further = [(name, BOTH) for name in design]
        shared = [tuning for tuning in tunings if all(tuning in fields.get(field, ()) for field in further)]
        yield from _means(_blocks(fields, further, shared), further, editors, draws, confidence, seed)
    if not blocks:
        return
    for contrast, pairs in _contrasts(design, sites).items():
        ends = [(combined.index(a), combined.index(b)) for a, b in pairs]
        made = [
            comparisons.Pair(edits, kept[[*end]], full[[*end]], None) for edits, kept, full in blocks for end in ends
        ]
        found = comparisons.compared(made, draws, confidence, seed)
        row = {"contrast": contrast, "n_cells": len(blocks), "n_edits": found["n_edits"], "value": found["difference"]}
        yield row | {name: found[name] for name in ("ci_low", "ci_high", "p_permutation")}


def _contrasts(design, sites):
    """Contrast -> the pairs of fields whose mean difference it is; those that the design has no two levels for lack."""
    found = {}
    if len(design) == 2:
        found["editor"] = [((design[0], site), (design[1], site)) for site in sites]
    if len(sites) == 2:
        found["tuner_site"] = [((name, sites[0]), (name, sites[1])) for name in design]
    if len(design) == len(sites) == 2:
        own, other = sites, sites[::-1]
        found["same_place"] = [((name, own[n]), (name, other[n])) for n, name in enumerate(design)]
    return found


def _blocks(fields, combined, tunings):
    """Of each tuning the edits that all fields have: (edits, kept, full), the two float [fields, edits]."""
    found = []
    for tuning in tunings:
        names, kept, full = comparisons.aligned([fields[field][tuning] for field in combined])
        if len(names) and full.sum(axis=1).all():
            found.append(([(tuning[0], name) for name in names], kept, full))
    return found


def _means(blocks, combined, editors, draws, confidence, seed):
    """A row per field: mean persistence over its tunings."""
    if not blocks:
        return
    edits = list(dict.fromkeys(edit for own, _, _ in blocks for edit in own))
    at = {edit: n for n, edit in enumerate(edits)}
    times = comparisons.redraws(edits, draws, seed)
    value = np.mean([kept.sum(axis=1) / full.sum(axis=1) for _, kept, full in blocks], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.mean(
            [(times[:, (mine := [at[edit] for edit in own])] @ kept.T) / (times[:, mine] @ full.T)
             for own, kept, full in blocks], axis=0,
        )  # fmt: skip
    clusters = len(edits) - len({task for task, _ in edits}) + 1
    for n, (name, site) in enumerate(combined):
        low, high = statistics.interval(value[n], drawn[:, n], clusters, confidence)
        row = {"editor": name, "editor_site": editors[name]["site"], "tuner_site": site}
        row |= {"n_cells": len(blocks), "n_edits": len(edits), "value": value[n], "ci_low": low, "ci_high": high}
        yield row | {"p_permutation": np.nan, "p_holm": np.nan}
