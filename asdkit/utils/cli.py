"""What all programs share: errors as one line, booleans, logging, progress."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from asdkit.utils.memory import reuse_freed_memory

T = TypeVar("T")


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a program's main; a ValueError or OSError becomes one line `error: ...` on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    reuse_freed_memory()
    try:
        main(None)
    except (ValueError, OSError) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _message(error: Exception) -> str:
    # Out of a reader process an error comes with that process's traceback, whose last line is `ValueError: message`.
    text = str(error)
    return text.rstrip().rsplit("\n", 1)[-1].partition(": ")[2] if text.startswith("Caught ") else text


def boolean(text: str) -> bool:
    """argparse type for `true` / `false`."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def parser(description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """An argument parser that accepts no abbreviated options and shows defaults."""
    return argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Show progress over `items`: a bar on a terminal, a plain line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total)
        return
    total = total if total is not None else len(items) if hasattr(items, "__len__") else None
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            _log_progress(what, count, total, last - start)


def _log_progress(what: str, count: int, total: Any, seconds: float) -> None:
    logging.info("%s: %d%s, %.0f s", what, count, f" of {total}" if total is not None else "", seconds)
