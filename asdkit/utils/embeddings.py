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
    content, table = _read_ark(ark)
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
    size = table[utts[0]][1]
    x = np.empty((len(utts), size), "<f4")
    source, rows = memoryview(content), memoryview(x.reshape(-1).view(np.uint8))
    for row, utt in enumerate(utts):
        data, own = table[utt]
        if own != size:
            raise ValueError(f"{ark}: {utt!r} has {own} dimensions, {utts[0]!r} has {size}")
        rows[4 * size * row : 4 * size * (row + 1)] = source[data : data + 4 * size]
    energy = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    unusable = ~np.isfinite(energy) | (energy == 0)
    if unusable.any():
        raise ValueError(f"{ark}: {utts[int(unusable.argmax())]!r} is a zero vector or holds NaN or infinity")
    return x


def _read_ark(path: Path) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """An ark's bytes, and where in them each vector starts and its dimensions, by name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; has stage 4 been run?") from None
    table: dict[str, tuple[int, int]] = {}
    position, utt = 0, ""
    while position < len(content):
        last, space = utt, content.find(b" ", position)
        data = space + 1 + len(HEADER) + 4
        if space < 0 or data > len(content):
            raise ValueError(f"{path}: cut short after {last or 'its start'}; run stage 4 again")
        utt = content[position:space].decode("utf-8", "replace")
        if not content.startswith(HEADER, space + 1):
            after = last or "its start"
            raise ValueError(
                f"{path}: after {after}, {utt[:80]!r} is not followed by a float vector; run stage 4 again"
            )
        size = int.from_bytes(content[data - 4 : data], "little")
        position = data + 4 * size
        if position > len(content) or size == 0:
            raise ValueError(f"{path}: cut short within the embedding of {utt!r}; run stage 4 again")
        if utt in table:
            raise ValueError(f"{path}: {utt!r} occurs twice; run stage 4 again")
        table[utt] = data, size
    return content, table
