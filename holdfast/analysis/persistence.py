"""Persistence of every cell, its interval, and what became of the pictures that the tuning took from the edit.

    R = (M_edited+tuned - M_tuned) / (M_edited - M_base)

1: the edit held fast, 0: nothing of it is left, above 1: it grew stronger. All four means are over the same
(edit, probe, seed), that is, the same noise; tuned states are also paired by the seed of their training.
"""

import pandas as pd

from holdfast.analysis import estimates, statistics
from holdfast.analysis.before import alone
from holdfast.analysis.measures import MEASURES
from holdfast.analysis.pairing import ARMS, CELL

NAN = float("nan")


def tabulate(cells, *, draws, confidence, seed):
    """The persistence table: one row per cell and measure (columns: docs/tables.md).

    cells: from `pairing.paired`. draws, confidence, seed: of the bootstrap. Persistence and its interval are blank
    where the interval of the effect (edited - base) contains 0. Where the edits are too few for an interval,
    persistence stands alone.
    """
    rows = []
    for cell, joined in cells:
        for measure in MEASURES:
            found = estimates.estimate(joined, measure, ARMS, draws, seed, fates_of="edited_tuned")
            if found is None:
                continue
            row = {**cell, "measure": measure.name, "n_edits": found.edits, "n_images": found.images, **found.point}
            row["ratio"] = float(estimates.divide(found.point["edited_tuned"], found.point["edited"]))
            row |= dict.fromkeys(("persistence", "ci_low", "ci_high"), NAN)
            if estimates.has_effect(found, confidence):
                left, drawn = estimates.kept(found)
                row["persistence"] = float(left)
                row["ci_low"], row["ci_high"] = statistics.interval(drawn, found.clusters, confidence)
            for name, (share, drawn) in found.shares.items():
                row[name] = float(share)
                row[f"{name}_low"], row[f"{name}_high"] = statistics.interval(drawn, found.clusters, confidence)
            rows.append(row)
    return pd.DataFrame(rows, columns=PERSISTENCE_COLUMNS)


PERSISTENCE_COLUMNS = [
    *CELL,
    *("measure", "n_edits", "n_images", *ARMS, "persistence", "ci_low", "ci_high", "ratio"),
    *(f"{name}{end}" for name in estimates.FATES for end in ("", "_low", "_high")),
]


def by_edit(cells):
    """One row per cell, measure, edit and training seed: the four values and the edit's own persistence, no interval.

    Beside the debias scores stand the shares `attribute` and `classified_attribute` that they are made of.
    """
    rows = []
    for cell, joined in cells:
        for name, (edit, train_seed), images, means in alone(joined, ARMS, ["edit", "train_seed"]):
            left = estimates.divide(means["edited_tuned"] - means["tuned"], means["edited"] - means["base"])
            row = {**cell, "measure": name, "edit": edit, "train_seed": train_seed, "n_images": images}
            rows.append(row | means | {"persistence": float(left)})
    return pd.DataFrame(rows, columns=[*CELL, "measure", "edit", "train_seed", "n_images", *ARMS, "persistence"])
