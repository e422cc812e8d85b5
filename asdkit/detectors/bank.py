"""A memory of training embeddings: its exact nearest neighbours, by blocks of one large product.

A block of float32 products finds the neighbours, double precision then says how far they are. Distances may be weighed
or lowered for each training embedding, as rescaled scores ask for.
"""

import numpy as np

ROWS = 512  # queries per block: the product is then bound by arithmetic, not by memory
BLOCK_BYTES = 1 << 24  # of a block of products
NONE = -1  # stands for a neighbour where all others were left out
GROUP = 32  # columns of a block of products whose largest value is found first
SPARE = 4  # neighbours that are found beyond those asked for, before the exact distances decide
CONFUSED = 1e-4  # cosine distances that differ by less may change places in float32
COPIED = 5e-5  # of the length of an embedding
CANCELLED = 1e4  # a weight so far above the median would magnify what float32 loses: such references take float64


class Bank:
    """Training embeddings x [R, D] as they are, compared by `distance`: cosine (1 - cosine, 0..2) or euclid.

    recordings [R], or [R, 2] where they are made from two: number of the recording that each is made from (None: all
    different). zeros: vectors of length 0 may occur; they are at cosine distance 1 from everything. Raises ValueError
    for another shape, NaN, infinity or a zero vector that may not occur.
    """

    def __init__(
        self, x: np.ndarray, distance: str = "cosine", recordings: np.ndarray | None = None, zeros: bool = False
    ) -> None:
        assert distance in ("cosine", "euclid")
        self.x, self.distance, self.zeros = checked(x, "training embeddings"), distance, zeros
        self.norms = self._norms(self.x, "training embeddings")
        # Distances between points do not change with the origin, their float32 squares lose less near it.
        self.origin = self.x.mean(axis=0, dtype=np.float64) if distance == "euclid" else np.zeros(self.x.shape[1])
        self.recordings = _columns(np.arange(len(x)) if recordings is None else recordings)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def copied(self) -> float:
        """Distances up to it are those of copies: embedded again, a recording lies a little apart."""
        return COPIED**2 / 2 if self.distance == "cosine" else COPIED * float(np.median(self.norms))

    def nearest(
        self,
        x: np.ndarray,
        k: int,
        own: np.ndarray | None = None,
        times: np.ndarray | None = None,
        minus: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k smallest values over the bank, [M, k] ascending, and where they are, [M, k], for embeddings x [M, D].

        The value of a reference is its distance, multiplied by `times` [R] or less `minus` [R]. own [M] or [M, 2]: the
        recordings that each row of x is made from, with whose references it is not compared; infinity where fewer than
        k others are left.
        Raises ValueError for embeddings that do not fit the bank.
        """
        assert times is None or minus is None
        x = checked(x, "embeddings", self.x.shape[1])
        # Rescaled values of mutual neighbours are equal but for rounding: double precision tells more of them apart.
        wanted, spare = k, 0 if own is None and times is None and minus is None else SPARE
        k = min(k + spare, len(self))
        norms = self._norms(x, "embeddings")
        best, found = np.full((len(x), k), -np.inf), np.full((len(x), k), NONE)
        left_out = None if own is None else self.pairs(own)
        for columns, dtype in self._blocks(times, k):
            block = self._references(columns, dtype, times, minus)
            for start in range(0, len(x), ROWS):
                rows = slice(start, start + ROWS)
                values = self._negated(x[rows], norms[rows], block, dtype)
                if left_out is not None:
                    _leave_out(values, left_out, rows, columns)
                _merge(best[rows], found[rows], values, columns, k)
        if spare and self.distance == "cosine":
            found = _without_clear_losers(best, found, wanted, times)
        values, found = self._exact(x, norms, found, own, times, minus)
        return values[:, :wanted], found[:, :wanted]

    def _exact(
        self,
        x: np.ndarray,
        norms: np.ndarray,
        found: np.ndarray,
        own: np.ndarray | None,
        times: np.ndarray | None,
        minus: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        nobody = found == NONE
        found, values = np.where(nobody, 0, found), np.zeros(found.shape)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            queries = self._scaled(x[rows], norms[rows])
            for column in range(found.shape[1]):
                asked = np.flatnonzero(~nobody[rows, column])
                chosen = found[start + asked, column]
                difference = self._scaled(self.x[chosen], self.norms[chosen])  # [Q, D]
                difference -= queries if len(asked) == len(queries) else queries[asked]
                squared = np.einsum("qd,qd->q", difference, difference)
                if self.distance == "euclid":
                    values[start + asked, column] = np.sqrt(squared)
                else:
                    # Half the square is 1 - cosine of unit vectors, without its loss of digits for near ones.
                    empty = (norms[start + asked] == 0) | (self.norms[chosen] == 0)
                    values[start + asked, column] = np.where(empty, 1.0, squared / 2)
        values = values * times[found] if times is not None else values - minus[found] if minus is not None else values
        values[nobody] = np.inf
        if own is not None:
            same = self.recordings[found][..., None] == _columns(own)[:, None, None]  # [M, k, parents, parents]
            values[same.any(axis=(2, 3))] = np.inf
        order = np.argsort(values, axis=1, kind="stable")
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(found, order, axis=1)

    def _blocks(self, times: np.ndarray | None, k: int) -> list[tuple[np.ndarray, type]]:
        """Numbers of the references that are compared together, and in which precision."""
        everything = np.arange(len(self))
        sharp = np.zeros(len(self), bool) if times is None else times > CANCELLED * np.median(times)
        size = max(k, BLOCK_BYTES // (4 * ROWS))
        return [
            (chosen[start : start + size], dtype)
            for chosen, dtype in ((everything[~sharp], np.float32), (everything[sharp], np.float64))
            for start in range(0, len(chosen), size)
        ]

    def _references(
        self, columns: np.ndarray, dtype: type, times: np.ndarray | None, minus: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """What makes negated values of queries: matrix [C, D], what is added, the factor of |query|^2, minus."""
        one = columns[0] + len(columns) == columns[-1] + 1  # then a slice does, without a copy
        part = slice(columns[0], columns[-1] + 1) if one else columns
        x = self._scaled(self.x[part], self.norms[part])
        weight = None if times is None else times[part]
        lowered = None if minus is None else minus[part].astype(dtype)
        if self.distance == "cosine":
            # -(1 - c) w = q.(t w) - w; the constant 1 of all references is left out where none is weighed.
            added = lowered if weight is None else -weight
            matrix = x if weight is None else x * weight[:, None]
            return matrix.astype(dtype), None if added is None else added.astype(dtype), None, None
        # -|q - t|^2 w^2 = q.(2 t w^2) - |t|^2 w^2 - |q|^2 w^2
        square = np.ones(len(x)) if weight is None else weight**2
        added = -np.einsum("cd,cd->c", x, x) * square
        return (2 * x * square[:, None]).astype(dtype), added.astype(dtype), square.astype(dtype), lowered

    def _negated(self, x: np.ndarray, norms: np.ndarray, block: tuple, dtype: type) -> np.ndarray:
        """The values of references, negated, in the order of the true ones: [Q, C]."""
        matrix, added, square, lowered = block
        queries = self._scaled(x, norms)
        values = queries.astype(dtype) @ matrix.T
        if added is not None:
            values += added
        if square is not None:
            length = np.einsum("qd,qd->q", queries, queries).astype(dtype)[:, None]
            if lowered is not None:
                values -= length  # -|q - t|^2
                np.sqrt(np.maximum(np.negative(values, out=values), 0, out=values), out=values)
                return np.subtract(lowered, values, out=values)
            values -= length * square
        return values

    def _scaled(self, x: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """Rows in double precision: at unit length for cosines, from the bank's mean for Euclid's distance."""
        if self.distance == "euclid":
            return x - self.origin
        return x / np.where(norms == 0, 1, norms)[:, None]

    def _norms(self, x: np.ndarray, what: str) -> np.ndarray:
        norms = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))
        if (bad := ~np.isfinite(norms)).any():
            raise ValueError(f"{what}: row {int(bad.argmax())} holds NaN or infinity")
        if self.distance == "cosine" and not self.zeros and (norms == 0).any():
            raise ValueError(f"{what}: row {int((norms == 0).argmax())} holds a zero vector, which has no direction")
        return norms

    def pairs(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of queries, ascending, and of references, that are made from one recording; own as for `nearest`."""
        wanted, known = _columns(own), self.recordings
        asked, references = wanted.ravel(), np.argsort(known.ravel(), kind="stable")
        ordered = known.ravel()[references]
        low, high = np.searchsorted(ordered, asked, "left"), np.searchsorted(ordered, asked, "right")
        places = np.repeat(np.arange(len(asked)), high - low)
        within = np.arange(len(places)) - np.repeat((high - low).cumsum() - (high - low), high - low)
        found = references[np.repeat(low, high - low) + within] // known.shape[1]
        return places // wanted.shape[1], found


def checked(x: np.ndarray, what: str, columns: int | None = None) -> np.ndarray:
    """x as it is; raises ValueError unless it is a table [clips, dimensions] of floats with so many columns."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind != "f":
        raise ValueError(f"{what}: expected a table [clips, dimensions] of floats, got {x.shape} of {x.dtype}")
    if columns is not None and x.shape[1] != columns:
        raise ValueError(f"{what} have {x.shape[1]} dimensions, the training embeddings {columns}")
    return x


def _columns(recordings: np.ndarray) -> np.ndarray:
    recordings = np.asarray(recordings)
    return recordings[:, None] if recordings.ndim == 1 else recordings


def _leave_out(values: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], rows: slice, columns: np.ndarray) -> None:
    queries, references = pairs
    first, last = np.searchsorted(queries, [rows.start, rows.stop])
    queries, references = queries[first:last] - rows.start, references[first:last]
    place = np.searchsorted(columns, references).clip(max=len(columns) - 1)
    here = columns[place] == references
    values[queries[here], place[here]] = -np.inf


def _without_clear_losers(best: np.ndarray, found: np.ndarray, wanted: int, times: np.ndarray | None) -> np.ndarray:
    """References found [M, k], the nearest first, without those beyond the `wanted` that float32 cannot have confused.

    best [M, k]: their negated cosine distances, multiplied by `times`.
    """
    order = np.argsort(-best, axis=1)
    best, found = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    weight = 1.0 if times is None else times[np.maximum(found, 0)].max(axis=1)[:, None]
    lost = best[:, wanted:] < best[:, wanted - 1, None] - CONFUSED * weight
    found[:, wanted:][lost] = NONE
    return found


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Where the k largest of each row of values [Q, C] are, [Q, k], in any order.

    They lie in the k groups of columns whose own largest value is largest: most columns are looked at once.
    """
    groups = values.shape[1] // GROUP
    if groups <= 2 * k:
        return np.argpartition(values, -k, axis=1)[:, -k:]
    whole = values[:, : groups * GROUP].reshape(len(values), GROUP, groups)  # a group is every groups-th column
    chosen = np.argpartition(whole.max(axis=1), -k, axis=1)[:, -k:]
    place = (chosen[:, :, None] + groups * np.arange(GROUP)).reshape(len(values), -1)
    rest = np.arange(groups * GROUP, values.shape[1])
    place = np.hstack([place, np.broadcast_to(rest, (len(values), len(rest)))])
    keep = np.argpartition(np.take_along_axis(values, place, axis=1), -k, axis=1)[:, -k:]
    return np.take_along_axis(place, keep, axis=1)


def _merge(best: np.ndarray, found: np.ndarray, values: np.ndarray, columns: np.ndarray, k: int) -> None:
    """Keep the k largest of what was best and the values [Q, C] of further references, in place."""
    if k == 1:
        place = values.argmax(axis=1)
        value = values[np.arange(len(values)), place]
        better = value > best[:, 0]
        best[better, 0], found[better, 0] = value[better], columns[place[better]]
        return
    if values.shape[1] > k:
        place = _largest(values, k)
        values, columns = np.take_along_axis(values, place, axis=1), columns[place]
    else:
        columns = np.broadcast_to(columns, values.shape)
    both, numbers = np.hstack([best, values]), np.hstack([found, columns])
    keep = np.argpartition(both, -k, axis=1)[:, -k:]
    best[:], found[:] = np.take_along_axis(both, keep, axis=1), np.take_along_axis(numbers, keep, axis=1)
