"""What a person should know of scores and thresholds before trusting them."""

from collections.abc import Sequence

import numpy as np

FAR = 2.0  # a threshold this many times the next lower training score was made by the few above it
SHARE = 0.4  # of the training clips: so many more above a threshold than there should be make it doubtful


def check_varied(scores: Sequence[float], where: str, nothing: float = -np.inf) -> None:
    """Raise ValueError when two or more test clips all have one score, or none has more than `nothing`."""
    lowest, highest = min(scores, default=0.0), max(scores, default=0.0)
    if len(scores) < 2 or (highest > lowest and highest > nothing):
        return
    copies = "all of them are copies of training clips, or " if highest <= nothing else ""
    raise ValueError(
        f"{where}: the scores of all {len(scores)} test clips are {'as good as 0' if copies else f'{highest:.6g}'} and "
        f"tell nothing apart: {copies}what made them makes one and the same of every clip. Listen to the recordings "
        "(are they silent?), look at the training curve"
    )


def on_threshold(
    limit: float, percentile: float, train: dict[str, float], tests: Sequence[float], non_negative: bool
) -> list[str]:
    """What is odd about a threshold, a sentence each.

    It is meant to be a percentile (0..100) of the scores `train` (by name); `tests` are those that it decides on.
    """
    values = np.array(list(train.values()))
    below, above = values[values <= limit], [utt for utt, value in train.items() if value > limit]
    notes = []
    if len(below) and _far(limit, below, non_negative):
        notes.append(
            f"no training clip comes near the threshold {limit:.4g}: {_highest(above, train)} made it, the others have "
            f"{below.max():.4g} at most. Anomalies may pass: listen to these, take broken ones out"
        )
    elif len(above) / len(train) > 1 - percentile / 100 + SHARE:
        notes.append(
            f"{len(above)} of {len(train)} training clips lie above the threshold {limit:.4g}: some are much farther "
            f"from the others than the rest, {_highest(above, train)}. Listen to these, take broken ones out"
        )
    elif limit <= 0 and non_negative:
        notes.append(f"the threshold is {limit:.4g}: every clip that is no copy lies above it")
    if len(tests) and min(tests) > limit:
        notes.append(
            f"all test clips ({len(tests)}) lie above the threshold {limit:.4g}: where some of them are normal, they "
            "come from other conditions than the training clips, or these are near copies of one another"
        )
    return notes


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first names of a list, and dots where there are more."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def _highest(utts: list[str], scores: dict[str, float]) -> str:
    return some([f"{utt} ({scores[utt]:.4g})" for utt in sorted(utts, key=lambda utt: -scores[utt])])


def _far(limit: float, below: np.ndarray, non_negative: bool) -> bool:
    """Whether a threshold lies far above all scores up to it: by a factor of distances, else by their own spread."""
    if non_negative:
        return limit > FAR * below.max()
    return len(below) >= 4 and limit - below.max() > FAR * (below.max() - below.min())
