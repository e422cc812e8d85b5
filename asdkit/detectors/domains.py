"""A detector per domain, and the smaller of their scores (paper Eq. 13)."""

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.detectors import DETECTORS, Detector
from asdkit.detectors.smote import between
from asdkit.detectors.tables import PARTS, TooFew, check_finite

SELF_SCORED = 1000  # training clips of a detector: enough for a percentile, and quicker than the scores themselves
BLOCK = 4096  # clips that are scored together


class PerDomain:
    """A detector per domain of the training clips; the score is the smallest of theirs."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.detectors: dict[str, Detector] = {}
        self.scale: dict[str, tuple[float, float]] = {}  # domain -> what its scores are lowered and divided by

    def fit(self, x: np.ndarray, domains: list[str], recordings: np.ndarray | None = None) -> "PerDomain":
        """Fit on x [N, D] (with bands [N, F, D]) with a domain for each row; a domain without rows has no detector.

        Without `per_domain` one detector serves all domains. recordings [N]: number of the recording that each row is
        made from, by default another for each: copies count as the row itself. Raises ValueError for NaN or infinity,
        and, naming the domain, where a detector refuses.
        """
        check_finite(x, "training arrays")  # here, for detectors see rows in another order
        self.train, self.told = x, np.array(domains)
        self.domains = self.told if self.config.per_domain else np.full(len(x), "all")
        self.order = _order(x, self.told)
        self.recordings = _numbered(np.arange(len(x)) if recordings is None else recordings, self.order)
        if self.config.smote and not (self.told == "target").any():
            raise ValueError("smote: there are no target clips to make more of: smote: null")
        for domain in sorted(set(self.domains)):
            try:
                self.detectors[domain] = self._fitted(domain, self.domains == domain)
            except ValueError as error:
                raise ValueError(f"{self._told(error)} (domain {domain})") from None
        if self.config.normalise in ("zscore", "median"):
            self.scale = self._scales()
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """Smallest score over the domains, x [M, D] -> [M], each as `normalise` says.

        Of more clips than BLOCK so many at a time, cut from x, are scored: memory does not grow with them.
        """
        scores: dict[str, list[np.ndarray]] = {domain: [] for domain in self.detectors}
        for start in range(0, max(len(x), 1), BLOCK):
            part = x[start : start + BLOCK]
            for domain, detector in self.detectors.items():
                scores[domain].append(detector.anomaly_score(part))
        return self._smallest({domain: np.concatenate(found) for domain, found in scores.items()})

    def self_scores(self, most: int = SELF_SCORED) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of training rows, and their scores when none is compared with itself; infinity where nothing is left.

        Of more training clips than `most` these are so many, evenly spaced.
        """
        rows = _spaced(len(self.train), most)
        x, own = self.train[rows], self.recordings[rows]
        return rows, self._smallest({domain: self._left_out(domain, x, own) for domain in self.detectors})

    def members(self, domain: str) -> np.ndarray:
        """Numbers of the training rows that a domain's detector learnt from, in its order; made ones come after."""
        return self._rows(self.domains == domain)

    def count_as(self, recordings: np.ndarray) -> None:
        """From now on leave out together, in `self_scores`, the rows to which `recordings` [N] gives one number.

        What was learnt stays, so that scores of others do. Rows of one recording must share a number already.
        """
        number = np.zeros(self.recordings.max() + 1, int)
        number[self.recordings] = recordings
        assert (number[self.recordings] == recordings).all()
        for detector in self.detectors.values():
            for bank in getattr(detector, "banks", ()):
                bank.recordings = number[bank.recordings]
        self.recordings = number[self.recordings]

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance [M] of x [M, D] to the nearest training row and that row's number, of detectors that tell them.

        Infinity where none does.
        """
        distances, rows = np.full(len(x), np.inf), np.zeros(len(x), int)
        for domain, detector in self.detectors.items():
            if hasattr(detector, "neighbours"):
                found, indices = (table[:, 0] for table in detector.neighbours(x))
                members = self._rows(self.domains == domain)
                closer = (found < distances) & (indices < len(members))  # what is made between clips has no row
                distances[closer] = found[closer]
                rows[closer] = members[indices[closer]]
        return distances, rows

    def by_band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Scores [F, M] of x [M, F, D] by each band's memory, in the domain whose score is the smallest, and the same
        of training rows [F, R], none compared with itself. None for a detector that has no more than one memory.
        """
        if any(len(getattr(detector, "banks", ())) < 2 for detector in self.detectors.values()):
            return None
        rows = _spaced(len(self.train), SELF_SCORED)
        return self._decisive(x, None), self._decisive(self.train[rows], self.recordings[rows])

    def _decisive(self, x: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        bands, scores = [], {}
        for domain, detector in self.detectors.items():
            bands.append(detector.by_band(x, own))
            scores[domain] = detector.joined(bands[-1])
        chosen = self._scaled(scores).argmin(axis=0)
        return np.stack(bands)[chosen, :, np.arange(len(x))].T

    @property
    def nothing(self) -> float:
        """Scores up to this are those of copies."""
        told = [getattr(detector, "nothing", -np.inf) for detector in self.detectors.values()]
        return min(told, default=-np.inf) if self.config.normalise == "none" else -np.inf

    def _fitted(self, domain: str, chosen: np.ndarray) -> Detector:
        """A detector of the training rows `chosen` [N] of one domain, and of what is made between target clips."""
        config = self.config.of_domain(domain)
        rows = self._rows(chosen)
        x, recordings = self.train[rows], self.recordings[rows]
        target = rows[self.told[rows] == "target"]
        if config.smote and len(target):
            wanted = round(config.smote.amount * int((self.told == "source").sum()))
            new, parents = between(self.train[target], wanted, config.smote.k, config.smote.seed)
            x = np.concatenate([x, new])
            recordings = np.concatenate([np.stack([recordings] * 2, axis=1), self.recordings[target][parents]])
        return DETECTORS[config.detector](config).fit(x, recordings)

    def _rows(self, chosen: np.ndarray) -> np.ndarray:
        """Numbers of the training rows `chosen` [N], in an order that is not that of the list of clips."""
        return self.order[chosen[self.order]]

    def _scales(self) -> dict[str, tuple[float, float]]:
        """From the training clips of a domain, each compared with the others of the domain.

        zscore: the target domain's deviation serves both (Saengthong and Shinozaki); median: by the median.
        """
        own = {}
        for domain in self.detectors:
            members = np.flatnonzero(self.domains == domain)
            members = members[_spaced(len(members))]
            found = self._left_out(domain, self.train[members], self.recordings[members])
            own[domain] = np.sort(found[np.isfinite(found)])
            if len(own[domain]) < 2:
                raise ValueError(
                    f"normalise: {self.config.normalise} needs two clips of different recordings or more, "
                    f"there are {len(members)} (domain {domain}): take normalise: none"
                )
        if self.config.normalise == "median":
            scales = {domain: (0.0, float(np.median(scores))) for domain, scores in own.items()}
        else:
            width = float(own.get("target", next(iter(own.values()))).std())
            scales = {domain: (float(scores.mean()), width) for domain, scores in own.items()}
        for domain, (_, width) in scales.items():
            if width <= 0:
                raise ValueError(
                    f"normalise: {self.config.normalise}: the training clips' own scores give {width:g} to "
                    f"divide by (domain {domain}): take normalise: none"
                )
        return scales

    def _smallest(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        return self._scaled(scores).min(axis=0)

    def _scaled(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """The domains' scores as `normalise` says: [domains, M]."""
        if self.config.normalise == "test_zscore":
            centred = {domain: found - found.mean() for domain, found in scores.items()}
            scores = {domain: found / (found.std() or 1) for domain, found in centred.items()}
        for domain, (low, width) in self.scale.items():
            scores[domain] = (scores[domain] - low) / width
        return np.stack(list(scores.values()))

    def _left_out(self, domain: str, x: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Scores [R] of x [R, D] by a domain's detector, as if it had learnt without rows of the same recording."""
        detector, members = self.detectors[domain], self.domains == domain
        if hasattr(detector, "leave_one_out"):
            return detector.leave_one_out(x, own)
        scores = np.full(len(x), np.inf)
        there, first, number = np.unique(self.recordings[members], return_index=True, return_inverse=True)
        part_of = np.empty(len(there), int)  # each has its share of a domain with few clips
        part_of[np.argsort(self.told[members][first], kind="stable")] = np.arange(len(there)) % PARTS
        inside = np.isin(own, there)
        if not inside.all():
            scores[~inside] = detector.anomaly_score(x[~inside])
        part = part_of[number]
        asked_part = np.where(inside, part_of[np.searchsorted(there, own).clip(max=len(there) - 1)], -1)
        for one in range(PARTS):
            asked = asked_part == one
            if asked.any() and (part != one).any():
                kept = np.flatnonzero(members)[part != one]
                try:
                    fitted = self._fitted(domain, np.isin(np.arange(len(members)), kept))
                except ValueError as error:
                    raise ValueError(
                        "thresholds and normalise learn the detector again without a fifth (rounded up) of its "
                        f"{int(members.sum())} training clips: {self._told(error)} (domain {domain})"
                    ) from None
                scores[asked] = fitted.anomaly_score(x[asked])
        return scores

    def _told(self, error: ValueError) -> str:
        """What a detector refuses, and the way out that it does not know of."""
        return f"{error}, or per_domain: false" if isinstance(error, TooFew) and self.config.per_domain else str(error)


def _spaced(count: int, most: int = SELF_SCORED) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _order(x: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Rows of x [N, ...] by their values: what is drawn or summed does not depend on the order of a list then."""
    flat = np.ascontiguousarray(x.reshape(len(x), -1) + x.dtype.type(0))  # of -0 makes 0
    bits = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))[:, 0]
    _, first, copy = np.unique(bits, return_index=True, return_inverse=True)
    place = np.zeros(len(first), int)
    for column in flat[first].T:
        if place.max() == len(first) - 1:  # all are told apart
            break
        place = np.unique(np.stack([place, np.unique(column, return_inverse=True)[1]]), axis=1, return_inverse=True)[1]
    return np.lexsort([np.unique(domains, return_inverse=True)[1], place.ravel()[copy]])


def _numbered(recordings: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The recordings [N], numbered as they come in `order`."""
    _, first, number = np.unique(recordings[order], return_index=True, return_inverse=True)
    found = np.empty(len(order), int)
    found[order] = np.argsort(np.argsort(first))[number]
    return found
