"""Vectors in two dimensions: t-SNE, and principal components beside it."""

import numpy as np

from asdkit.detectors.tables import one_thread

COMPONENTS = 50  # that t-SNE is given, as its authors did
PERPLEXITY = 30.0
FEWEST = 5  # vectors, for t-SNE
STEPS = 999  # of a coordinate on the page
EVEN = 1e-6  # of a vector's length: what differs by less is the same


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors [N, D] at unit length; zeros stay zeros."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms == 0, 1, norms)


def components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of x [N, D]: coordinates [N, K], and each one's share of the variance [K], K >= 2.

    Signs are chosen so that each component's largest coordinate is positive.
    """
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    found = (u * s)[:, :COMPONENTS]
    found = np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    total = float((s**2).sum())
    shares = np.pad(s**2, (0, max(0, 2 - len(s)))) / (total or 1.0)
    return found * np.where(largest < 0, -1, 1), shares[: found.shape[1]]


def tsne(x: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008) of principal components x [N, K], the largest first: [N, 2].

    It starts from the first two, and from a fixed seed. N is at least FEWEST and x is not all the same.
    """
    from sklearn.manifold import TSNE

    start = x[:, :2] / x[:, 0].std() * 1e-4
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    with one_thread():  # where others compute, too, threads that wait for one another take minutes
        return TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=0).fit_transform(
            x.astype(np.float32)
        )


def placed(points: np.ndarray) -> list[int]:
    """Points [N, 2] as whole numbers of 0 to STEPS, x and y in turn, in one scale for both, in the middle."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max()) or 1.0
    return np.rint(STEPS * (0.5 + (points - (low + high) / 2) / size)).astype(int).ravel().tolist()


def both(x: np.ndarray) -> dict[str, list | None]:
    """Vectors x [N, D] for the page: `pca`, `shares` of its two axes, and `tsne`, None for few or equal vectors."""
    found, shares = components(unit(x.astype(np.float64)))
    differ = float(np.abs(found).max()) > EVEN
    near = placed(tsne(found)) if len(x) >= FEWEST and differ else None
    return {
        "pca": placed(found[:, :2] if differ else 0 * found[:, :2]),
        "shares": [round(float(share), 4) for share in shares[:2]] if differ else [0.0, 0.0],
        "tsne": near,
    }
