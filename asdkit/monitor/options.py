"""Types of options of asdkit-detect: numbers that make sense."""

import argparse
import math
from collections.abc import Callable

SHORTEST, LONGEST = 0.1, 86400  # seconds of a clip


def finite(text: str) -> float:
    """argparse type of a number; NaN, above which nothing lies, and infinity are none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def above_zero(text: str) -> float:
    """argparse type of a number above 0; nobody waits for the millionth part of one, nor a million million of them."""
    value = finite(text)
    if not 1e-6 <= value <= 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0" if value <= 0 else f"{text!r} is not 1e-6 to 1e12")
    return value


def seconds(text: str) -> float:
    """argparse type of a clip's length."""
    value = finite(text)
    if not SHORTEST <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not {SHORTEST} to {LONGEST} seconds")
    return value


def pause(text: str) -> float:
    """argparse type of the time between two looks."""
    value = finite(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0.05 to 3600 seconds")
    return value


def whole(most: int) -> Callable[[str], int]:
    """argparse type of a number from 1 to `most`."""

    def made(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 16 and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 to {most}")
        return int(text)

    return made


def share(text: str) -> tuple[int, int]:
    """argparse type of K/N."""
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with 1 <= K <= N <= 1000, as in 3/5")
    return int(first), int(last)
