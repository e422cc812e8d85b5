"""Nearest neighbours by cosine distance (paper Sec. IV-E)."""

import numpy as np

QUERIES = 512  # query rows per block: the product is then bound by arithmetic, not by memory


class KNN:
    """Anomaly score = mean cosine distance (1 - cosine, 0..2) to the k nearest training embeddings.

    Exact search by blocks of the matrix of cosines: at most `block_bytes` of it exist at a time, in float32.
    """

    non_negative = True
    nothing = 1e-9  # the distance of a copy whose embedding was rounded in another way; other clips are farther

    def __init__(self, k: int = 1, block_bytes: int = 1 << 24) -> None:
        if k < 1 or block_bytes < 4 * QUERIES:
            raise ValueError(f"k is {k}, block_bytes {block_bytes}: allowed are k >= 1, block_bytes >= {4 * QUERIES}")
        self.k = k
        self.columns = max(k, block_bytes // (4 * QUERIES))
        self.train: np.ndarray | None = None

    def fit(self, x: np.ndarray) -> "KNN":
        """Keep training embeddings x [N, D] at unit length.

        Raises ValueError for another shape, NaN, infinity, a zero vector, or fewer embeddings than k.
        """
        x = _check(x, "training embeddings")
        if len(x) < self.k:
            raise ValueError(f"k = {self.k} neighbours of {len(x)} training embeddings: lower k")
        self.train = np.empty(x.shape, np.float32)
        for start in range(0, len(x), QUERIES):
            rows = slice(start, start + QUERIES)
            self.train[rows] = _unit(x[rows], start, "training embeddings")
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Mean distance of x [M, D] to its k nearest training embeddings, [M] float64. Errors as for `neighbours`."""
        return self.neighbours(x)[0].mean(axis=1)

    def neighbours(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances [M, k] float64, ascending, and indices [M, k] of the nearest training embeddings of x [M, D].

        Raises ValueError before `fit`, for another shape, NaN, infinity or a zero vector.
        """
        if self.train is None:
            raise ValueError("KNN: call fit before asking for scores")
        x = _check(x, "embeddings")
        if x.shape[1] != self.train.shape[1]:
            raise ValueError(f"embeddings have {x.shape[1]} dimensions, the training embeddings {self.train.shape[1]}")
        return self._nearest(x, self.k)

    def leave_one_out(self, x: np.ndarray, own: np.ndarray, recordings: np.ndarray) -> np.ndarray:
        """Scores [R] of x [R, D] by the training embeddings of other recordings.

        own [R], recordings [N]: number of the recording that each row of x, and each training row, is made from. With
        fewer than k others, their mean distance; without others, infinity. Errors as for `neighbours`.
        """
        distances = self._nearest(x, min(self.k, len(self.train)), own, recordings)[0]
        there = np.isfinite(distances)
        count = there.sum(axis=1)
        return np.where(count > 0, np.where(there, distances, 0).sum(axis=1) / np.maximum(count, 1), np.inf)

    def _nearest(
        self, x: np.ndarray, k: int, own: np.ndarray | None = None, recordings: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances and indices of k neighbours, [M, k]; the distance is infinite where row i has only its own left."""
        distances, indices = np.empty((len(x), k)), np.empty((len(x), k), np.int64)
        buffer = np.empty(QUERIES * self.columns, np.float32)
        for start in range(0, len(x), QUERIES):
            rows = slice(start, start + QUERIES)
            queries = _unit(x[rows], start, "embeddings")
            found = self._search(queries, k, buffer, None if own is None else own[rows], recordings)
            distances[rows], indices[rows] = self._exact(queries, found)
            if own is not None:
                distances[rows][recordings[indices[rows]] == own[rows, None]] = np.inf
        return distances, indices

    def _search(
        self,
        queries: np.ndarray,
        k: int,
        buffer: np.ndarray,
        own: np.ndarray | None,
        recordings: np.ndarray | None,
    ) -> np.ndarray:
        """Indices of the k nearest training rows, in any order, [Q, k]; merges the best of one block after another."""
        best = indices = None
        for start in range(0, len(self.train), self.columns):
            train = self.train[start : start + self.columns]
            cosines = buffer[: len(queries) * len(train)].reshape(len(queries), len(train))
            np.matmul(queries, train.T, out=cosines)
            if own is not None:
                same = recordings[start : start + self.columns] == own[:, None]
                np.copyto(cosines, -np.inf, where=same)
            found = _largest(cosines, k)  # [Q, <= k]
            values = np.take_along_axis(cosines, found, axis=1)
            found += start
            if best is not None:
                values, found = np.hstack([best, values]), np.hstack([indices, found])
                keep = _largest(values, k)
                values, found = np.take_along_axis(values, keep, axis=1), np.take_along_axis(found, keep, axis=1)
            best, indices = values, found
        return indices

    def _exact(self, queries: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances of the neighbours found, ascending.

        Half the squared distance of two unit vectors is 1 - cosine, without its loss of digits for near vectors.
        """
        distances = np.empty(indices.shape)
        for neighbour in range(indices.shape[1]):
            difference = self.train[indices[:, neighbour]] - queries  # [Q, D]
            distances[:, neighbour] = np.einsum("qd,qd->q", difference, difference, dtype=np.float64) / 2
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Columns of each row's k largest values, in any order; for k = 1 the first of equals."""
    if k == 1:
        return values.argmax(axis=1)[:, None]
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape).copy()
    return np.argpartition(values, -k, axis=1)[:, -k:]


def _check(x: np.ndarray, what: str) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind != "f":
        raise ValueError(f"{what}: expected a table [clips, dimensions] of floats, got {x.shape} of {x.dtype}")
    return x


def _unit(x: np.ndarray, start: int, what: str) -> np.ndarray:
    """Rows at unit length, float32; `start` is the first row's number in messages."""
    norms = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))
    for name, bad in (("NaN or infinity", ~np.isfinite(norms)), ("a zero vector, which has no direction", norms == 0)):
        if bad.any():
            raise ValueError(f"{what}: row {start + int(bad.argmax())} holds {name}")
    return (x / norms[:, None]).astype(np.float32)
