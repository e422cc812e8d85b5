"""Reading embeddings as stage 4 leaves them: a Kaldi ark of float vectors beside its scp."""

from pathlib import Path

import numpy as np

from asdkit.utils.files import read_scp

HEADER = b"\0BFV \4"  # binary, vector of float32, four bytes of length follow


def read_embeddings(folder: str | Path, utts: list[str]) -> np.ndarray:
    """The embeddings of `utts`, in this order, from `folder`/embedding.{ark,scp}: [clips, dimensions] float32.

    The ark is read in one pass, and nothing but float vectors is accepted from it. Raises ValueError, naming file and
    clip, for an ark that is cut short or damaged or differs from its scp, another dimension, NaN, infinity, a zero
    vector, or a clip without embedding.
    """
    folder = Path(folder)
    ark, scp = folder / "embedding.ark", folder / "embedding.scp"
    table = _read_ark(ark)
    for utt in read_scp(scp):
        if utt not in table:
            raise ValueError(f"{ark}: {utt!r}, which {scp.name} lists, is not in it: cut short? Run stage 4 again")
    missing = [utt for utt in utts if utt not in table]
    if missing:
        raise ValueError(
            f"{ark}: no embedding of {len(missing)} of {len(utts)} clips: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. Run stage 4 again"
        )
    if not utts:
        raise ValueError(f"{folder}: embeddings of no clip are asked for; the manifest has no rows")
    x = np.empty((len(utts), len(table[utts[0]])), np.float32)
    for row, utt in enumerate(utts):
        vector = table[utt]
        if len(vector) != x.shape[1]:
            raise ValueError(f"{ark}: {utt!r} has {len(vector)} dimensions, {utts[0]!r} has {x.shape[1]}")
        x[row] = vector
    unusable = ~np.isfinite(x).all(axis=1) | ~x.any(axis=1)
    if unusable.any():
        raise ValueError(f"{ark}: {utts[int(unusable.argmax())]!r} is a zero vector or holds NaN or infinity")
    return x


def _read_ark(path: Path) -> dict[str, np.ndarray]:
    """All vectors of an ark by name, as views of its bytes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; has stage 4 been run?") from None
    table: dict[str, np.ndarray] = {}
    position, last = 0, "its start"
    while position < len(content):
        space = content.find(b" ", position)
        data = space + 1 + len(HEADER) + 4
        if space < 0 or data > len(content):
            raise ValueError(f"{path}: cut short after {last}; run stage 4 again")
        utt = content[position:space].decode("utf-8", "replace")
        if content[space + 1 : data - 4] != HEADER:
            raise ValueError(f"{path}: after {last}, {utt[:80]!r} is not followed by a float vector; run stage 4 again")
        size = int.from_bytes(content[data - 4 : data], "little")
        position = data + 4 * size
        if position > len(content) or size == 0:
            raise ValueError(f"{path}: cut short within the embedding of {utt!r}; run stage 4 again")
        if utt in table:
            raise ValueError(f"{path}: {utt!r} occurs twice; run stage 4 again")
        table[utt] = np.frombuffer(content, "<f4", size, data)
        last = repr(utt)
    return table
