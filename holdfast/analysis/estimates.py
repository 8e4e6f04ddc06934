"""A measure of several arms on the same pictures: its value in each, and its bootstrap draws in each."""

from dataclasses import dataclass

import numpy as np

from holdfast.analysis import bias, statistics
from holdfast.analysis.pairing import sums


@dataclass(frozen=True)
class Estimate:
    """What a measure is in every arm: `point` arm -> value, `drawn` arm -> [draws].

    edits, images: on how many it rests. clusters: how many there are of what the bootstrap draws (`pairing.clusters`).
    shares: name -> (value, [draws]) of what became of the pictures (`fates`).
    """

    edits: int
    clusters: int
    images: int
    point: dict
    drawn: dict
    shares: dict


def select(joined, measure, arms):
    """The pictures on which a measure is defined in all the arms, or None where there are none.

    An attribute may be unknown in a single picture (neither value is seen): such pictures stay, as their arms' counts.
    """
    names = [f"{measure.score}:{arm}" for arm in arms]
    if any(name not in joined for name in names):
        return None
    chosen = joined[joined["role"] == measure.role]
    chosen = chosen.dropna(subset=names, how="all" if measure.biased else "any")
    return chosen if len(chosen) else None


def estimate(joined, measure, arms, draws, seed, fates_of=None):
    """The measure in the arms, or None where it isn't defined.

    joined: pictures with columns `{measure}:{arm}`. draws, seed: of the bootstrap. fates_of: the arm in which the fate
    of the pictures that showed the target in the arm `edited` is told (`fates`).
    """
    chosen = select(joined, measure, arms)
    if chosen is None:
        return None
    if measure.biased:
        return _one_sidedness(chosen, measure, arms, draws, seed)
    values = np.column_stack([np.ones(len(chosen)), *(chosen[f"{measure.score}:{arm}"] for arm in arms)])
    if fates_of:
        values = np.column_stack([values, fates(chosen, measure, fates_of)])
    table = sums(chosen, values)
    total = np.nansum(table, axis=(0, 1))
    drawn = statistics.totals(table, draws, seed)
    column = {arm: n for n, arm in enumerate(arms, start=1)}
    shares = {}
    if fates_of:
        started = 1 + len(arms)
        for n, name in enumerate(FATES, start=started + 1):
            shares[name] = (divide(total[n], total[started]), divide(drawn[:, n], drawn[:, started]))
    return Estimate(
        chosen["edit"].nunique(),
        len(table),
        len(chosen),
        {arm: float(total[n] / total[0]) for arm, n in column.items()},
        {arm: drawn[:, n] / drawn[:, 0] for arm, n in column.items()},
        shares,
    )


def _one_sidedness(chosen, measure, arms, draws, seed):
    """The estimate of a biased attribute: Delta per edit and training, its mean over both."""
    trainings = np.unique(chosen["train_seed"]) if "train_seed" in chosen else [None]
    hits, known = [], []
    for arm in arms:
        value = chosen[f"{measure.score}:{arm}"].to_numpy(float)
        for training in trainings:
            mine = True if training is None else (chosen["train_seed"] == training).to_numpy()
            hits.append(np.nan_to_num(value) * mine)
            known.append(~np.isnan(value) & mine)
    hits, known = (sums(chosen, np.column_stack(part).astype(float)) for part in (hits, known))
    # An edit of which some arm shows no attribute at all has no score there, so it has no partner.
    whole = (np.nansum(known, axis=1) > 0).all(axis=1)
    if not whole.any():
        return None
    hits, known = hits[whole], known[whole]
    by_edit = bias.score(np.nansum(hits, axis=1), np.nansum(known, axis=1))
    drawn = bias.bootstrap(hits, known, draws, seed)
    point = by_edit.mean(axis=0).reshape(len(arms), -1).mean(axis=1)
    drawn = drawn.reshape(draws, len(arms), -1).mean(axis=2)
    images = int(chosen["edit"].isin(chosen["edit"].unique()[whole]).sum())
    return Estimate(
        int(whole.sum()),
        int(whole.sum()),
        images,
        {arm: float(point[n]) for n, arm in enumerate(arms)},
        {arm: drawn[:, n] for n, arm in enumerate(arms)},
        {},
    )


FATES = ("held", "reversal", "drift")


def fates(rows, measure, arm):
    """Of the pictures that show the target after the edit: which still do, turned to their source, or to neither.

    Returns float [pictures, 4]: showed the target when edited, and then held, reversed, drifted (0 or 1 each).
    """
    names = [f"{outcome}:{arm}" for outcome in measure.outcomes]
    if not names or any(name not in rows for name in names):
        return np.zeros((len(rows), 4))
    started = rows[f"{measure.outcomes[0]}:edited"].to_numpy(float)
    return np.nan_to_num(np.column_stack([started, *(started * rows[name].to_numpy(float) for name in names)]))


def kept(estimate, arm="edited_tuned"):
    """What is left of the edit's effect in an arm, R: (value, [draws]).

    R = (M_arm - M_tuned) / (M_edited - M_base): 1: the edit held fast, 0: nothing of it is left, above 1: stronger.
    """
    return tuple(
        divide(means[arm] - means["tuned"], means["edited"] - means["base"])
        for means in (estimate.point, estimate.drawn)
    )


def has_effect(estimate, confidence):
    """Whether the edit did anything: the interval of `edited - base` excludes 0.

    Without an effect there is nothing that could persist. Where the edits are too few for an interval, a difference
    will do.
    """
    low, high = effect(estimate, confidence)[1:]
    return not (low <= 0 <= high) and estimate.point["edited"] != estimate.point["base"]


def effect(estimate, confidence):
    """The edit's effect `edited - base`: value, low, high."""
    drawn = estimate.drawn["edited"] - estimate.drawn["base"]
    low, high = statistics.interval(drawn, estimate.clusters, confidence)
    return estimate.point["edited"] - estimate.point["base"], low, high


def divide(upper, lower):
    """Quotient with NaN, and no warning, where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lower == 0, np.nan, np.divide(upper, lower))
