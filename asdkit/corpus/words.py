"""Words of file and folder names that tell a clip's condition."""

import re
from collections.abc import Iterable, Iterator

from asdkit.corpus.names import UNKNOWN

WORDS = {
    "normal": ("normal", "good", "ok", "healthy"),
    "anomaly": ("anomaly", "anomalies", "anomalous", "abnormal", "fault", "faults", "faulty", "defect", "defects")
    + ("defective", "damaged", "broken", "bad", "ng", "nok"),
}
_CONDITION = {word: condition for condition, words in WORDS.items() for word in words}
_BEFORE = {"no", "not", "non", "without", "before"}  # what turns the word after them round
_AFTER = {"free", "less", "detection", "detector"}
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def told(name: str) -> str:
    """The condition that a name's first word tells, one of WORDS in any case (`NG_07`, `3 AbnormalSound`), else `-`.

    `-` too where another word contradicts the first or turns it round: `fault_free`, `normal_or_faulty`.
    """
    first = _TOKEN.search(name)
    if not first or first[0].lower() not in _CONDITION or any(map(str.isalpha, name[: first.start()])):
        return UNKNOWN
    conditions = {condition for _, condition in _conditions(name)}
    return conditions.pop() if len(conditions) == 1 else UNKNOWN


def suspicious(names: Iterable[str]) -> str | None:
    """The first word anywhere in `names` (folders, file) that an anomaly's name would hold; `fault_free` holds none."""
    return next((word for name in names for word, condition in _conditions(name) if condition == "anomaly"), None)


def _conditions(name: str) -> Iterator[tuple[str, str]]:
    """Each of WORDS in a name and what it says, `-` where its neighbour turns it round."""
    tokens = ["", *(token.lower() for token in _TOKEN.findall(name)), ""]
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        condition = _CONDITION.get(token) or ("anomaly" if "abnormal" in token or "anomal" in token else None)
        if condition:
            yield token, UNKNOWN if before in _BEFORE or after in _AFTER else condition
