"""Distances between two sets of pictures by their features: FID and KID.

The formulas are a few lines of linear algebra, so no library is asked for them; what makes published numbers differ is
the features (network, resizing) and the number of pictures, which the quality table names.
"""

import numpy as np

from holdfast.errors import HoldfastError

BLOCK = 2048  # pictures whose kernel with as many others is held at once: 32 MB


def frechet(a, b):
    """Frechet distance of the normal distributions fitted to two sets of features (Heusel et al. 2017, eq. 6).

        |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    With S = R^T R, the trace of the root is the sum of the singular values of R_a R_b^T, so that no root of a matrix,
    singular where there are fewer pictures than features, is taken. Biased upwards by the number of pictures: compare
    at equal numbers only.

    a, b: float [N, d] and [M, d], N and M at least 2. Returns a float.
    """
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross)


def kernel(a, b):
    """Unbiased squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018, section 4), KID.

    The kernel is (x y / d + 1)^3. All pairs are used, no subsets. May be below 0.

    a, b: float [N, d] and [M, d], N and M at least 2. Returns a float.
    """
    a, b = _checked(a), _checked(b)
    n, m = len(a), len(b)
    within_a = _total(a, a) - _cubed(np.einsum("nd,nd->n", a, a), a.shape[1]).sum()
    within_b = _total(b, b) - _cubed(np.einsum("nd,nd->n", b, b), b.shape[1]).sum()
    return float(within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * _total(a, b) / (n * m))


def _total(a, b):
    """Sum of the kernel over all pairs, block by block."""
    starts = [(i, j) for i in range(0, len(a), BLOCK) for j in range(0, len(b), BLOCK)]
    return sum(_cubed(a[i : i + BLOCK] @ b[j : j + BLOCK].T, a.shape[1]).sum() for i, j in starts)


def _cubed(products, width):
    return (products / width + 1) ** 3


def _moments(features):
    """Mean [d] and a root R of the covariance, R^T R = S: [min(N, d), d]."""
    features = _checked(features)
    mean = features.mean(axis=0)
    return mean, np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r")


def _checked(features):
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise HoldfastError(
            f"Two pictures make the smallest set with a distance; there are {len(features)}: give more."
        )
    return features
