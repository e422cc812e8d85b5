"""Listening to a stream without an end: each window judged and kept, with a heartbeat while nothing comes."""

import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from asdkit.monitor.database import Stopped
from asdkit.monitor.heartbeat import Heart
from asdkit.monitor.inputs import Clip, Unread
from asdkit.monitor.recorder import Recorder
from asdkit.monitor.verdict import UNREAD, Verdict

PATIENCE = 0.5  # seconds of waiting for sound, between two looks at what else there is to do
BLOCK = 1 << 16  # bytes


class Listener:
    """Judges what comes on a stream and keeps it. say: takes each verdict once it is kept.

    Times are those of the samples: when the first one came, and how many came since.
    """

    def __init__(
        self, recorder: Recorder, heart: Heart, stopped: Callable[[], bool], say: Callable[[Verdict], None]
    ) -> None:
        self.recorder, self.heart, self.stopped, self.say = recorder, heart, stopped, say
        self.began, self.clock = time.time(), 0.0
        self.behind = 0.0

    def patient(self, file: BinaryIO) -> BinaryIO:
        """A stream that ends when the program is asked to, and lets the heart beat while it is waited for."""
        return cast(BinaryIO, _Patient(self, file))

    def run(self, clips: Iterator[Clip | Unread]) -> None:
        """Judge the clips until there are no more. Errors as for `Database.change`."""
        judge = self.recorder.judge
        try:
            for clip in clips:
                found = judge.judge(clip)
                if found.verdict == UNREAD:
                    judge.detector.bundle.check_unchanged()
                now, end = time.monotonic(), clip.seconds + (found.length or 0.0)
                self.behind = max(now - self.clock - end, 0.0)
                self.heart.came(now)
                self.recorder.keep(found, self.began + clip.seconds, round(self.behind, 3))
                self.say(found)
                self.beat()
        except Stopped:
            pass

    def beat(self) -> None:
        """Let the heart beat, where it is time to."""
        self.heart.beat(0, self.behind)


class _Patient:
    def __init__(self, listener: Listener, file: Any) -> None:
        self.listener, self.file, self.rest = listener, file.fileno(), bytearray()

    def read(self, count: int) -> bytes:
        listener = self.listener
        while len(self.rest) < count and not listener.stopped():
            if not select.select([self.file], [], [], PATIENCE)[0]:
                listener.behind = 0.0
                listener.beat()
                continue
            block = os.read(self.file, BLOCK)
            if not block:
                break
            if not listener.clock:
                listener.began, listener.clock = time.time(), time.monotonic()
            self.rest += block
        found = bytes(self.rest[:count])
        del self.rest[:count]
        return found
