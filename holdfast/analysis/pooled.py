"""Persistence over many cells at once: what all edits together lost, with edits as the sample.

An edit's contribution is what tuning left of its effect, and that effect, each averaged over the cells in which it
stands; so every edit counts once, however many tunings it went through, and a cell counts by the effect that it had to
lose. Within a cell an edit counts by its pictures. An edit that lowers a measure is told as one that raises its
negative, so that debiasing and removals join the rest.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from holdfast.analysis import comparisons, estimates, statistics
from holdfast.analysis.pairing import ARMS


@dataclass(frozen=True)
class Pooled:
    """The edits of some cells. edits: [(task, name)]. units: their values in the four arms, averaged over the cells,
    as `verdicts` tests them."""

    edits: list
    units: estimates.Units
    cells: int

    @property
    def kept(self):
        """float [edits]: what tuning left of the effect."""
        return self.units.values["edited_tuned"] - self.units.values["tuned"]

    @property
    def full(self):
        """float [edits]: the effect before."""
        return self.units.values["edited"] - self.units.values["base"]


def pool(tested):
    """The cells (`persistence.Tested`, one or more) as one."""
    parts, variances = [], []
    for one in tested:
        units, row = one.units, one.row
        sign = 1 if row["edited"] >= row["base"] else -1
        weights = sign * units.weights / units.weights.mean()
        index = pd.MultiIndex.from_arrays([[row["task"]] * len(units.names), units.names])
        part = pd.DataFrame({arm: units.values[arm] * weights for arm in ARMS}, index=index)
        parts.append(part.assign(best=units.range[1] if sign > 0 else -units.range[0]))
        variances.append(units.variances)
    means = pd.concat(parts).groupby(level=[0, 1], sort=False).mean()
    # Cells share pictures, so their scatter doesn't average out: the mean is what it is at most.
    scatter = {arm: float(np.mean([own[arm] for own in variances])) for arm in ARMS}
    best = float(means["best"].mean())
    values = {arm: means[arm].to_numpy() for arm in ARMS}
    units = estimates.Units(means.index.to_numpy(), np.ones(len(means)), values, scatter, (-best, best))
    return Pooled(list(means.index), units, len(tested))


def share(pooled, *, draws, confidence, seed):
    """Pooled persistence with its interval by a bootstrap over the edits of each task: (value, low, high)."""
    times = comparisons.redraws(pooled.edits, draws, seed)
    value = float(pooled.kept.sum() / pooled.full.sum())
    clusters = len(pooled.edits) - len({task for task, _ in pooled.edits}) + 1
    drawn = estimates.divide(times @ pooled.kept, times @ pooled.full)
    return value, *statistics.interval(value, drawn, clusters, confidence)
