"""What tuning did to an edit, by tests: held, weakened, reversed, strengthened or undecided.

With R the persistence and a margin m, three claims are tested against what they deny:

    changed   R is not 1            two-sided
    held      1 - m < R < 1 + m     two one-sided tests (TOST, Schuirmann 1987): the larger of the two p-values
    reversed  R < m                 one-sided

R is a quotient, and so none of them divides: R > r is that K - r D, of mean effects K left after the tuning and D
before it, is above 0 (Fieller 1954; Hauschke et al. 1999 for the equivalence of quotients). The sample is the edits,
each with the mean over its pictures, so a claim is about other edits of the kind; or it is the pictures, and then the
claim is about these edits, drawn from other noise. The test is that of `bounded`, since edits are few and their fates
unequal. Its worst possible value is, where R > r is claimed, an edit of which nothing is left; where R < r, one that
reached the best that the measure can show. Means of pictures scatter beyond such limits, so two standard errors of that
scatter are the least.
"""

import numpy as np

from holdfast.analysis.bounded import p_positive

NOISE = 2.0  # standard errors of a unit's mean that its worst value is off 0, at least
TESTS = ("p_value", "p_tost", "p_reversed")


BEFORE, AFTER = ("base", "edited"), ("tuned", "edited_tuned")


def p_values(units, margin):
    """The p-values of the three claims (TESTS) from an estimate's units in the four arms."""
    above, below = one_sided(units)
    return {
        "p_value": p_changed(units),
        "p_tost": max(above(1 - margin), below(1 + margin)),
        "p_reversed": below(margin),
    }


def p_changed(units):
    """The p-value of the claim that R is not 1."""
    above, below = one_sided(units)
    return min(1.0, 2 * min(above(1), below(1)))


def one_sided(units):
    """(above, below): functions of a share, the p-values of the claims that R is above it, and below it."""
    means = {arm: np.average(values, weights=units.weights) for arm, values in units.values.items()}
    least, most = units.range
    # An edit that lowers a measure is told as one that raises its negative.
    sign, best = (1, most) if means["edited"] >= means["base"] else (-1, -least)
    left = sign * (units.values["edited_tuned"] - units.values["tuned"])
    full = sign * (units.values["edited"] - units.values["base"])
    effect, tuned = sign * (means["edited"] - means["base"]), sign * means["tuned"]
    weights = units.weights / units.weights.mean()
    before, after = (sum(units.variances[arm] for arm in arms) for arms in (BEFORE, AFTER))

    def contrasts(share):
        return (left - share * full) * weights, NOISE * np.sqrt(after + share**2 * before)

    def above(share):
        values, noise = contrasts(share)
        return p_positive(values, min(-share * effect, values.min(), -noise))

    def below(share):
        values, noise = contrasts(share)
        return p_positive(-values, -max(best - tuned - share * effect, values.max(), noise))

    return above, below


def holm(p_values, grids):
    """Holm's adjusted p-values, each within its grid (Holm 1979); NaN stays NaN and counts for nothing.

    p_values, grids: arrays of equal length; a grid is told by any value.
    """
    p_values, out = np.asarray(p_values, dtype=float), np.full(len(p_values), np.nan)
    for grid in dict.fromkeys(grids):
        mine = np.array([other == grid for other in grids]) & ~np.isnan(p_values)
        order = np.argsort(p_values[mine])
        # statsmodels' multipletests gives the same, and collects garbage at every call: seconds with large tables.
        steps = p_values[mine][order] * np.arange(len(order), 0, -1)
        out[np.flatnonzero(mine)[order]] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return out


def verdict(persistence, p_changed, p_held, p_reversed, level):
    """The claim that the adjusted p-values support at this level; empty where there was no effect to lose."""
    if np.isnan(persistence):
        return ""
    if p_held <= level:
        return "held"
    if p_reversed <= level:
        return "reversed"
    if p_changed <= level:
        return "weakened" if persistence < 1 else "strengthened"
    return "undecided"
