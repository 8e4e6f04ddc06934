"""Persistence of every cell, its interval, and what became of the pictures that the tuning took from the edit.

    R = (M_edited+tuned - M_tuned) / (M_edited - M_base)

1: the edit held fast, 0: nothing of it is left, above 1: it grew stronger. All four means are over the same
(edit, probe, seed), that is, the same noise; tuned states are also paired by the seed of their training.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from holdfast.analysis import statistics
from holdfast.errors import HoldfastError

CELL = ["family", "task", "editor", "tuner", "site", "corpus", "relation", "tuning_step"]
STATE = ["family", "task", "arm", "editor", "tuner", "site", "corpus", "relation", "tuning_step"]
TUNING = ["tuner", "site", "corpus", "relation", "tuning_step"]
PICTURE = ["edit", "probe", "seed"]
ARMS = ["base", "edited", "tuned", "edited_tuned"]
OUTCOMES = ["target", "source", "other"]


@dataclass(frozen=True)
class Measure:
    """A persistence measure: a score of the pictures of one probe role, and the outcomes that explain its loss."""

    name: str
    score: str
    role: str
    outcomes: tuple[str, ...] = ()


CLIP_OUTCOMES = ("clip_target", "clip_source", "clip_other")
CLASSIFIER_OUTCOMES = ("target", "source", "other")
MEASURES = (
    Measure("efficacy", "efficacy", "efficacy", CLIP_OUTCOMES),
    Measure("generality", "efficacy", "generality", CLIP_OUTCOMES),
    Measure("specificity", "specificity", "specificity"),
    Measure("classified_efficacy", "target", "efficacy", CLASSIFIER_OUTCOMES),
    Measure("classified_generality", "target", "generality", CLASSIFIER_OUTCOMES),
    Measure("classified_specificity", "source", "specificity"),
)


def pictures(scores):
    """One row per picture and one column per measure, from the long table of scores.

    Empty names are empty strings, never NaN. Raises HoldfastError where one picture was measured twice.
    """
    keys = [column for column in scores.columns if column not in ("measure", "value")]
    frame = scores.copy()
    for column in keys:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype(str)
    try:
        wide = frame.set_index([*keys, "measure"])["value"].unstack("measure")
    except ValueError as error:
        raise HoldfastError(
            "The scores hold one picture's measure twice (same lineage, probe, seed, tuning step): "
            "delete results/tables/scores.parquet and run the study again."
        ) from error
    return wide.reset_index().rename_axis(columns=None)


def paired(frame):
    """Yield (cell, its pictures with columns `{measure}:{arm}` of the four arms), same noise and same training seed."""
    scored = [c for c in frame.columns if c not in (*STATE, *PICTURE, "lineage", "role", "prompt", "train_seed")]

    def arm(name, rows):
        return rows.loc[rows["arm"] == name].rename(columns={m: f"{m}:{name}" for m in scored})

    for key, final in arm("edited_tuned", frame).groupby(CELL, sort=False):
        cell = dict(zip(CELL, key, strict=True))
        same = frame[(frame["family"] == cell["family"]) & (frame["task"] == cell["task"])]
        tuned = arm("tuned", same)
        tuned = tuned[np.logical_and.reduce([tuned[name] == cell[name] for name in TUNING])]
        edited = arm("edited", same)
        edited = edited[edited["editor"] == cell["editor"]]
        joined = final[[*PICTURE, "role", "train_seed", *(f"{m}:edited_tuned" for m in scored)]]
        for other, name, on in (
            (tuned, "tuned", [*PICTURE, "train_seed"]),
            (edited, "edited", PICTURE),
            (arm("base", same), "base", PICTURE),
        ):
            joined = joined.merge(other[[*on, *(f"{m}:{name}" for m in scored)]], on=on, validate="many_to_one")
            if len(joined) != len(final):
                raise HoldfastError(
                    f"{len(final) - len(joined)} of {len(final)} pictures of {describe(cell)} have no partner with the "
                    f"same noise in the arm {name!r}: the scores come from different settings; run the study again."
                )
        yield cell, joined


def describe(cell):
    """A cell in words, for messages."""
    site = "" if cell["site"] in ("", "denoiser") else f"-{cell['site']}"
    return f"{cell['family']}, {cell['task']}, {cell['editor']}, {cell['tuner']}{site} on {cell['corpus']}"


def sums(frame, values):
    """Sums of `values` (float [pictures, quantities]) per edit and seed: [edits, seeds, quantities]; NaN where none."""
    edits, seeds = pd.factorize(frame["edit"])[0], pd.factorize(frame["seed"])[0]
    out = np.zeros((edits.max() + 1, seeds.max() + 1, values.shape[1]))
    count = np.zeros(out.shape[:2])
    np.add.at(out, (edits, seeds), values)
    np.add.at(count, (edits, seeds), 1)
    out[count == 0] = np.nan
    return out


def divide(upper, lower):
    """Quotient with NaN, and no warning, where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lower == 0, np.nan, np.divide(upper, lower))


def fates(rows, measure):
    """Of the pictures that show the target after the edit: which still do, turned to their source, or to neither.

    Returns float [pictures, 4]: showed the target when edited, and then held, reversed, drifted (0 or 1 each).
    """
    names = [f"{outcome}:edited_tuned" for outcome in measure.outcomes]
    if not names or any(name not in rows for name in names):
        return np.zeros((len(rows), 4))
    started = rows[f"{measure.outcomes[0]}:edited"].to_numpy(float)
    return np.nan_to_num(np.column_stack([started, *(started * rows[name].to_numpy(float) for name in names)]))


def quantities(total):
    """Means, persistence, ratio and fates from sums [..., 9]: n, base, edited, tuned, edited_tuned, and `fates`."""
    total = np.asarray(total)
    count, base, edited, tuned, final, started, held, source, other = np.moveaxis(total, -1, 0)
    return {
        "base": base / count,
        "edited": edited / count,
        "tuned": tuned / count,
        "edited_tuned": final / count,
        "effect": (edited - base) / count,
        "persistence": divide(final - tuned, edited - base),
        "ratio": divide(final, edited),
        "held": divide(held, started),
        "reversal": divide(source, started),
        "drift": divide(other, started),
    }


def tabulate(frame, *, draws, confidence, seed):
    """The persistence table: one row per cell and measure (columns: docs/tables.md).

    frame: from `pictures`. draws, confidence, seed: of the bootstrap. Persistence and its interval are blank where the
    interval of the effect (edited - base) contains 0: without an effect there is nothing that could persist. Where the
    edits are too few for an interval, persistence stands alone.
    """
    rows = []
    for cell, joined in paired(frame):
        for measure in MEASURES:
            chosen = select(joined, measure)
            if chosen is None:
                continue
            values = np.column_stack(
                [np.ones(len(chosen)), *(chosen[f"{measure.score}:{a}"] for a in ARMS), fates(chosen, measure)]
            )
            table = sums(chosen, values)
            point = quantities(np.nansum(table, axis=(0, 1)))
            drawn = quantities(statistics.totals(table, draws, seed))
            row = {**cell, "measure": measure.name, "n_edits": len(table), "n_images": len(chosen)}
            row |= {name: float(point[name]) for name in (*ARMS, "persistence", "ratio")}
            low, high = statistics.interval(drawn["effect"], len(table), confidence)
            row["ci_low"], row["ci_high"] = statistics.interval(drawn["persistence"], len(table), confidence)
            if low <= 0 <= high or point["effect"] == 0:
                row |= dict.fromkeys(("persistence", "ci_low", "ci_high"), float("nan"))
            for name in ("held", "reversal", "drift"):
                row[name] = float(point[name])
                row[f"{name}_low"], row[f"{name}_high"] = statistics.interval(drawn[name], len(table), confidence)
            rows.append(row)
    return pd.DataFrame(rows, columns=PERSISTENCE_COLUMNS)


PERSISTENCE_COLUMNS = [
    *CELL,
    *("measure", "n_edits", "n_images", *ARMS, "persistence", "ci_low", "ci_high", "ratio"),
    *(f"{name}{end}" for name in ("held", "reversal", "drift") for end in ("", "_low", "_high")),
]


def select(joined, measure):
    """The pictures of a cell on which a measure is defined, or None where there are none."""
    names = [f"{measure.score}:{arm}" for arm in ARMS]
    if any(name not in joined for name in names):
        return None
    chosen = joined[joined["role"] == measure.role].dropna(subset=names)
    return chosen if len(chosen) else None


def by_edit(frame):
    """One row per cell, measure, edit and training seed: the four means and the edit's own persistence, no interval."""
    rows = []
    for cell, joined in paired(frame):
        for measure in MEASURES:
            chosen = select(joined, measure)
            if chosen is None:
                continue
            for (edit, train_seed), part in chosen.groupby(["edit", "train_seed"]):
                means = {arm: float(part[f"{measure.score}:{arm}"].mean()) for arm in ARMS}
                kept = divide(means["edited_tuned"] - means["tuned"], means["edited"] - means["base"])
                row = {**cell, "measure": measure.name, "edit": edit, "train_seed": train_seed, "n_images": len(part)}
                rows.append(row | means | {"persistence": float(kept)})
    columns = [*CELL, "measure", "edit", "train_seed", "n_images", *ARMS, "persistence"]
    return pd.DataFrame(rows, columns=columns)


def rates(frame, *, draws, confidence, seed):
    """The mean of every measure per state and probe role, with interval: columns STATE, role, measure, n_edits,
    n_images, rate, ci_low, ci_high. Outcomes and yes/no measures are rates in [0, 1]; clip_score is a mean score.
    """
    fixed = {*STATE, *PICTURE, "lineage", "role", "prompt", "train_seed"}
    measures = [column for column in frame.columns if column not in fixed]
    rows = []
    for key, part in frame.groupby([*STATE, "role"], sort=False):
        values = part[measures].to_numpy(float)
        known = ~np.isnan(values)
        table = sums(part, np.column_stack([np.where(known, values, 0.0), known]))
        total = np.nansum(table, axis=(0, 1))
        drawn = statistics.totals(table, draws, seed)
        for column, measure in enumerate(measures):
            count = total[len(measures) + column]
            if count == 0:
                continue
            edits = int((np.nansum(table[:, :, len(measures) + column], axis=1) > 0).sum())
            spread = divide(drawn[:, column], drawn[:, len(measures) + column])
            low, high = statistics.interval(spread, edits, confidence)
            rows.append([*key, measure, edits, int(count), total[column] / count, low, high])
    return pd.DataFrame(rows, columns=[*STATE, "role", "measure", "n_edits", "n_images", "rate", "ci_low", "ci_high"])
