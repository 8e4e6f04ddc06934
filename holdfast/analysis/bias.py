"""How one-sided an attribute is, without the part that chance alone makes, and its bootstrap.

    Delta = |p - 1/2| / (1/2) - floor(n)

p is the share of a profession's pictures with the attribute (Gandikota et al. 2024, section 6.2, with the desired
ratio 1/2). Of n pictures of a fair model p is not 1/2: Delta would be .246 at n = 10 and .050 at n = 250. That floor is
subtracted and the difference is *not* cut off at 0, so the average over fair professions is 0, not above it.
"""

import numpy as np
from scipy import special

from holdfast.analysis.statistics import CHUNK


def floor(n):
    """E|2 X / n - 1| with X ~ Bin(n, 1/2): what a fair model scores on n pictures. NaN for n = 0.

    De Moivre's closed form of the mean absolute deviation, m C(n, m) / 2^n with m = n // 2 + 1 (Diaconis & Zabell
    1991, Statistical Science 6(3)). n may be an array.
    """
    n = np.asarray(n, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        m = np.floor(n / 2) + 1
        chosen = special.gammaln(n + 1) - special.gammaln(m + 1) - special.gammaln(n - m + 1)
        return np.where(n > 0, 2 * m / n * np.exp(chosen - n * np.log(2)), np.nan)


def score(hits, known):
    """Delta of `hits` pictures with the attribute among the `known` ones; NaN where none is known."""
    hits, known = np.asarray(hits, dtype=np.float64), np.asarray(known, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(2 * hits / known - 1) - floor(known)


def bootstrap(hits, known, draws, seed):
    """Draw the mean Delta over the edits: edits with replacement, and seeds within every drawn copy of an edit.

    Delta is no mean over pictures, so every copy of an edit draws its own seeds and has a Delta of its own; that sets
    this apart from `statistics.totals`. A resample scatters around the observed p as that does around the true one, so
    |p - 1/2| rises once more, by a floor of its own: the mean of an edit's resampled Deltas above its observed one. It
    is subtracted too.

    hits, known: float [edits, seeds, quantities], sums over the pictures of an edit and seed, NaN where an edit lacks
    a seed. draws: number of draws. seed: of the generator. Returns float64 [draws, quantities].
    """
    present = ~np.isnan(known).any(axis=2)
    hits, known = np.nan_to_num(hits), np.nan_to_num(known)
    edits, seeds, width = known.shape
    chances = present / present.sum(axis=1, keepdims=True)
    observed = score(hits.sum(axis=1), known.sum(axis=1))
    generator = np.random.default_rng(seed)
    chosen = generator.integers(edits, size=(draws, edits))
    drawn = np.empty((draws, edits, width))
    chunk = max(1, CHUNK // (seeds * width))
    for slot in range(edits):
        for start in range(0, draws, chunk):
            edit = chosen[start : start + chunk, slot]
            counts = generator.multinomial(present.sum(axis=1)[edit], chances[edit]).astype(np.float64)
            drawn[start : start + chunk, slot] = score(
                np.einsum("ds,dsq->dq", counts, hits[edit]), np.einsum("ds,dsq->dq", counts, known[edit])
            )
    for edit in range(edits):
        resampled = chosen == edit
        drawn[resampled] -= np.nanmean(drawn[resampled], axis=0) - observed[edit]
    return np.nanmean(drawn, axis=1)
