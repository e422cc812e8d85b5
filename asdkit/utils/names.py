"""Names as disks and users write them: Unicode forms, commas in options, and names that no list can hold."""

import os
import unicodedata
from collections.abc import Iterable


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


def choose(given: list[str], known: set[str], failure: str) -> set[str]:
    """Those of the `known` names that an option names, which was split at commas; Unicode forms count as one.

    A name that holds commas is found in the pieces. Raises ValueError, with `failure` in front, for pieces that are no
    name, or that may be read in two ways.
    """
    names: dict[str, set[str]] = {}
    for name in known:
        names.setdefault(composed(name), set()).add(name)
    chosen: set[str] = set()
    pieces = [composed(piece) for piece in given]
    while pieces:
        lengths = [count for count in range(len(pieces), 0, -1) if ",".join(pieces[:count]) in names]
        if not lengths:
            raise ValueError(f"{failure} {pieces[0]!r}. Found: {', '.join(sorted(known)) or 'nothing'}")
        if len(lengths) > 1:
            both = " and ".join(repr(",".join(pieces[:count])) for count in lengths)
            raise ValueError(f"{failure} that {','.join(given)!r} names for certain: there are {both}. Rename one")
        chosen |= names[",".join(pieces[: lengths[0]])]
        del pieces[: lengths[0]]
    return chosen


def on_disk(path: str, listed: dict[str, dict[str, list[str]]]) -> str:
    """`path`, or where it is missing the one path that is there and differs from it in Unicode forms alone.

    listed: names of folders that were looked into, kept from call to call.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    found = _variants(path, listed)
    return found[0] if len(found) == 1 else path


def _variants(path: str, listed: dict[str, dict[str, list[str]]]) -> list[str]:
    head, tail = os.path.split(path)
    if path.isascii() or not tail:
        return [path]
    found = []
    for folder in _variants(head, listed):
        if folder not in listed:
            listed[folder] = {}
            for name in os.listdir(folder or ".") if os.path.isdir(folder or ".") else ():
                listed[folder].setdefault(composed(name), []).append(name)
        found += [os.path.join(folder, name) for name in listed[folder].get(composed(tail), ())]
    return found


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
