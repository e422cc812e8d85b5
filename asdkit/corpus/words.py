"""Words of file and folder names: which tell a clip's condition, and Unicode forms of one name."""

import os
import re
import unicodedata
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
    """The condition that a name tells by starting with one of WORDS in any case (`NG_07`, `AbnormalSound`), else `-`.

    `-` too where another word contradicts the first or turns it round: `fault_free`, `normal_or_faulty`.
    """
    tokens = _TOKEN.findall(name)
    if not tokens or not name.startswith(tokens[0]) or tokens[0].lower() not in _CONDITION:
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
        if token in _CONDITION:
            yield token, UNKNOWN if before in _BEFORE or after in _AFTER else _CONDITION[token]


def composed(text: str) -> str:
    """The composed form (NFC): one of the ways to write an umlaut, the one that names are compared in."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def one_form(texts: Iterable[str]) -> dict[str, str]:
    """What to call each text: the composed form where several are one text in different forms, else itself."""
    texts = set(texts)
    forms: dict[str, set[str]] = {}
    for text in texts:
        forms.setdefault(composed(text), set()).add(text)
    return {text: composed(text) if len(forms[composed(text)]) > 1 else text for text in texts}


def on_disk(path: str, listed: dict[str, dict[str, list[str]]]) -> str:
    """`path`, or where it is missing the path that is there and differs from it in Unicode form alone.

    listed: names of folders that were looked into, kept from call to call.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    head, tail = os.path.split(path)
    if not tail:
        return path
    head = on_disk(head, listed)
    if head not in listed:
        listed[head] = {}
        for name in os.listdir(head or ".") if os.path.isdir(head or ".") else ():
            listed[head].setdefault(composed(name), []).append(name)
    there = listed[head].get(composed(tail), [])
    return os.path.join(head, there[0] if len(there) == 1 else tail)


def checked(path: str) -> str:
    """`path` if it can stand in a line of a list; raises ValueError for a line break, a tab or bytes that are no UTF-8.

    Such bytes reach Python as lone surrogates; the message shows them escaped.
    """
    if any(character in path for character in "\n\r\t"):
        raise ValueError(f"{path!r}: a name that holds a line break or tab: rename it")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{shown(path)}: a name that is no UTF-8 (its odd bytes are shown as \\x..), from a system with another "
            "encoding: rename it, or convert all names below a folder: convmv -f latin1 -t utf8 -r --notest FOLDER"
        ) from None
    return path


def shown(path: str) -> str:
    """`path` for a message, bytes that are no UTF-8 as `\\xfc`, line breaks as `\\n`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
