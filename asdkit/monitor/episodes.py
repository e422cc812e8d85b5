"""From clips to episodes: several clips in a row over the limit are one alarm, with a start and an end."""

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from asdkit.monitor.calibration import Rule

KEPT = 1000  # clips over the limit that an episode names: an alarm may go on for years


class Timed(NamedTuple):
    """A clip's score and when it was recorded, in seconds; None: nothing can be said of it (its sensor failed)."""

    score: float | None
    start: float
    end: float


@dataclass
class Episode:
    """An alarm: from the first clip over the limit that raised it to the last one over the release, in seconds.

    raised: end of the clip that raised it. peak: number of the clip with the highest score. over: how many are over the
    limit; clips: numbers of the first 1,000 of them. open: whether it goes on.
    """

    start: float
    raised: float
    end: float
    peak: int
    peak_score: float
    over: int = 0
    clips: list[int] = field(default_factory=list)
    open: bool = True


class Watch:
    """Takes one clip after the other and tells of episodes; keeps no more than the one that goes on.

    k of the last n clips over the limit raise an alarm; n clips in a row, none over the release, end it. So no clip
    serves two alarms, and a share p of clips over the limit raises at most p / k alarms a clip, however clips depend on
    one another. going: the episode that goes on; raised: how many there were, with that one.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule, self.count, self.raised = rule, 0, 0
        self.going: Episode | None = None
        self.last: deque[tuple[int, Timed]] = deque(maxlen=rule.n)  # those over the limit or not, newest last
        self.quiet = 0  # clips since the last one over the release

    def add(self, clip: Timed) -> Episode | None:
        """Take the next clip; returns the episode that it belongs to, which may have begun with it.

        A clip without a score changes nothing: it neither raises nor ends an alarm.
        """
        number, self.count = self.count, self.count + 1
        going = self.going
        if clip.score is None:
            return going
        self.last.append((number, clip))
        if going is None:
            return self._begin(clip)
        self.quiet = 0 if clip.score > self.rule.release else self.quiet + 1
        if self.quiet >= self.rule.n:
            going.open, self.going = False, None
            return None
        if self.quiet == 0:
            self._extend(going, number, clip)
        return going

    def held(self) -> dict[str, Any]:
        """Where the counting stands, as JSON can hold it."""
        going = self.going and asdict(self.going)
        return {
            "count": self.count,
            "raised": self.raised,
            "quiet": self.quiet,
            "going": going,
            "last": list(self.last),
        }

    def restore(self, held: dict[str, Any]) -> None:
        """Go on from what `held` gave, with the rule of this watch."""
        self.count, self.raised, self.quiet = held["count"], held["raised"], held["quiet"]
        self.going = held["going"] and Episode(**held["going"])
        self.last.extend((number, Timed(*clip)) for number, clip in held["last"])

    def _begin(self, clip: Timed) -> Episode | None:
        over = [(number, one) for number, one in self.last if one.score > self.rule.limit]
        if len(over) < self.rule.k or clip.score <= self.rule.limit:
            return None
        first = over[0]
        episode = Episode(first[1].start, clip.end, clip.end, first[0], first[1].score)
        for number, one in over:
            self._extend(episode, number, one)
        self.going, self.raised, self.quiet = episode, self.raised + 1, 0
        return episode

    def _extend(self, episode: Episode, number: int, clip: Timed) -> None:
        episode.end = clip.end
        if clip.score > episode.peak_score:
            episode.peak, episode.peak_score = number, clip.score
        if clip.score > self.rule.limit:
            episode.over += 1
            if len(episode.clips) < KEPT:
                episode.clips.append(number)


def find_episodes(rule: Rule, clips: Iterable[Timed]) -> list[Episode]:
    """The episodes among clips in the order in which they were recorded; the last one may be open."""
    watch, found = Watch(rule), list[Episode]()
    for clip in clips:
        before, episode = watch.going, watch.add(clip)
        if episode is not None and before is None:
            found.append(episode)
    return found
