"""Intervals by a bootstrap over clusters within clusters.

Pictures are not independent: those of one edit stand or fall together, and within an edit those of one seed. So the
edits are drawn with replacement and, within every drawn edit, its seeds (Davison & Hinkley 1997, section 3.8). A copy
of an edit that was drawn m times draws m times its seeds, all equally likely, so how often each (edit, seed) is drawn
is a multinomial of a multinomial. That gives the whole bootstrap as a table of counts and one matrix product.

A plain percentile interval is too narrow with few clusters (6 edits: about 87 % coverage where 95 % is stated), since
the bootstrap's variance lacks the factor n/(n-1) and the normal's tails stand in for Student's. The *expanded*
percentile interval (Hesterberg 2015, The American Statistician 69(4), section 5.4) widens the percentiles by both.
"""

import functools

import numpy as np
from scipy import stats

from holdfast.errors import HoldfastError

CHUNK = 4_000_000  # counts held at once: 32 MB


def totals(values, draws, seed):
    """Draw the sums over all pictures of what `values` holds per edit and seed.

    values: float [edits, seeds, quantities], sums over the pictures of one edit and seed. An edit that lacks a seed
    has NaN there. draws: number of bootstrap draws. seed: of the generator; same seed and shape, same draws.
    Returns float64 [draws, quantities].
    """
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values).any(axis=2)
    if values.size == 0 or not present.any(axis=1).all():
        raise HoldfastError("The bootstrap was given an edit without pictures: every edit needs at least one seed.")
    filled = np.where(present[:, :, None], values, 0.0).reshape(-1, values.shape[2])
    if draws * present.size <= CHUNK:
        return _counts(present.tobytes(), present.shape, draws, seed) @ filled
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK // present.size)
    out = np.empty((draws, values.shape[2]))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        out[start : start + size] = _draw(generator, present, size) @ filled
    return out


def _draw(generator, present, draws):
    """How often each (edit, seed) is drawn: float64 [draws, edits * seeds]."""
    edits, seeds = len(present), present.sum(axis=1)
    drawn_edits = generator.multinomial(edits, np.full(edits, 1 / edits), size=draws)
    drawn_seeds = generator.multinomial(drawn_edits * seeds, present / seeds[:, None])
    return drawn_seeds.reshape(draws, -1).astype(np.float64)


@functools.lru_cache(maxsize=4)
def _counts(present, shape, draws, seed):
    """`_draw`, kept for the next measure and the next cell, which mostly have as many edits and seeds."""
    return _draw(np.random.default_rng(seed), np.frombuffer(present, dtype=bool).reshape(shape), draws)


@functools.cache
def tail(clusters, confidence):
    """The share of draws to cut off at each end for an interval of this confidence from so many clusters."""
    if clusters < 2:
        return float("nan")
    wanted = stats.t.ppf((1 + confidence) / 2, clusters - 1) * np.sqrt(clusters / (clusters - 1))
    return float(stats.norm.sf(wanted))


def interval(draws, clusters, confidence):
    """Expanded percentile interval: (low, high).

    Both NaN where there are fewer than two clusters, or fewer finite draws than it takes for one to lie beyond each
    limit: the limits would be the smallest and the largest draw, which say how often was drawn and not how sure it is.
    """
    draws = draws[np.isfinite(draws)]
    cut = tail(clusters, confidence)
    if np.isnan(cut) or cut * len(draws) < 1:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [cut, 1 - cut])
    return float(low), float(high)
