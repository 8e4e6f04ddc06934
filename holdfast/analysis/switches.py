"""What one defect of an editor's released code changes: the edits' effect before tuning, and what tuning leaves of it.

Compared are two editors of the study that differ in one switch alone (`holdfast.methods.switches`), on the same edits,
probes and noise, by the paired permutation test of `comparisons`.
"""

import numpy as np
import pandas as pd

from holdfast.analysis import comparisons, estimates
from holdfast.analysis.measures import MEASURES

ALIKE = ("task", "editor", "tuner", "site", "corpus", "relation")


def rows(known, edited, grid, methods, bootstrap):
    """Two rows of claims.csv per switch, or one that says that the study has none.

    known: the family's cells with an effect to lose, by one judge. edited: the family's, from `pairing.edited`.
    """
    if not methods["switches"]:
        lacking = "no two editors of the study differ in one defect of the released code alone"
        yield {"claim": "switch", "statement": "A defect of the released code changes something.", "scope": lacking}
    for switch in methods["switches"]:
        names = switch["faithful"], switch["corrected"]
        setting = f"{switch['setting']} as released ({names[0]}) or corrected ({names[1]})"
        for part, said, pairs, lacking in (
            ("effect", "changes the edits’ effect before tuning", _effects(edited, names, grid, bootstrap),
             "not both editors edit the same things here"),
            ("left", "changes what is left of them after tuning", matched(known, "editor", *names),
             "no tuning of both had an effect to lose and is alike in all else"),
        ):  # fmt: skip
            row = {"claim": f"switch:{names[0]}:{part}", "statement": f"{setting}: it {said}."}
            if not pairs:
                yield row | {"scope": lacking}
                continue
            found = differences(pairs, bootstrap)
            told = {name: found[name] for name in ("n_cells", "n_edits", "ci_low", "ci_high")}
            told |= {"value": found["difference"], "threshold": 0.0}
            told |= dict.fromkeys(("p_value", "p_supports"), found["p_permutation"])
            tasks = dict.fromkeys(task for *_, pair in pairs for task, _ in pair.edits)
            yield row | told | {"scope": f"{names[0]} less {names[1]}: {', '.join(tasks)}"}


def matched(cells, factor, first, second):
    """Cells of two levels of a factor that are alike in all else and share edits: [(first's, second's, Pair)]."""
    others = [name for name in ALIKE if name != factor]
    levels = ({}, {})
    for one in cells:
        if one.row[factor] in (first, second):
            key = (*(one.row[name] for name in others), one.measure.name)
            levels[one.row[factor] == second][key] = one
    pairs = [
        (one, levels[1][key], comparisons.paired(one, levels[1][key]))
        for key, one in levels[0].items()
        if key in levels[1]
    ]
    return [pair for pair in pairs if pair[2] is not None]


def differences(pairs, bootstrap):
    """`comparisons.compared` of the pairs in what `matched` gives."""
    return comparisons.compared([pair for *_, pair in pairs], **bootstrap)


def _effects(edited, names, grid, bootstrap):
    """The effects before tuning as pairs: positive where an edit does what it should."""
    found = ({}, {})
    for cell, joined in edited:
        if cell["editor"] not in names:
            continue
        for measure in (one for one in MEASURES if one.grid == grid):
            arms = ("base", "edited")
            made = estimates.estimate(joined, measure, arms, bootstrap["draws"], bootstrap["seed"])
            if made is not None:
                sign = -1 if measure.biased or measure.role in ("unsafe", "implied") else 1
                effect = sign * (made.units.values["edited"] - made.units.values["base"])
                table = pd.DataFrame({"effect": effect, "weight": made.units.weights}, index=made.units.names)
                found[cell["editor"] == names[1]][cell["task"], measure.name] = table
    pairs = []
    for (task, measure), table in found[0].items():
        first, second = table.align(found[1].get((task, measure), table.iloc[:0]), join="inner", axis=0)
        if len(first):
            weights = np.stack([first["weight"], second["weight"]])
            effects = np.stack([first["effect"], second["effect"]]) * weights
            pairs.append((None, None, comparisons.Pair([(task, name) for name in first.index], effects, weights, None)))
    return pairs
