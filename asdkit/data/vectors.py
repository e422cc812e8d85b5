"""Archives of embeddings, written whole (no torch: merging shards starts quickly)."""

from pathlib import Path

import kaldiio
import numpy as np

from asdkit.utils.files import atomic_path, read_text, write_text


def write_embeddings(path: Path, table: dict[str, np.ndarray]) -> None:
    """Write <path>.ark and its index <path>.scp, sorted by id; the index appears last."""
    ark, scp = (path.with_name(f"{path.name}.{kind}") for kind in ("ark", "scp"))
    with atomic_path(ark) as temporary, atomic_path(scp) as index:
        kaldiio.save_ark(str(temporary), {utt: table[utt] for utt in sorted(table)}, scp=str(index))
        lines = read_text(index).replace(f" {temporary}:", f" {ark}:")
    write_text(scp, lines)


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """Read an archive whole; raises ValueError naming it when it is cut short."""
    try:
        return dict(kaldiio.load_ark(str(path)))
    except Exception as error:  # kaldiio lets struct, value and assertion errors through
        raise ValueError(f"{path}: not a whole archive ({error}): remove it and run stage 4 again") from None
