"""Archives of embeddings, written whole (no torch: merging shards starts quickly)."""

from pathlib import Path

import kaldiio
import numpy as np

from asdkit.utils.ark import ArkWriter
from asdkit.utils.files import atomic_path, write_text


def write_embeddings(path: Path, table: dict[str, np.ndarray]) -> None:
    """Write <path>.ark and its index <path>.scp, sorted by id; the index appears last."""
    ark, scp = (path.with_name(f"{path.name}.{kind}") for kind in ("ark", "scp"))
    with atomic_path(ark) as temporary, open(temporary, "wb") as file:
        writer = ArkWriter(file)
        for utt in sorted(table):
            writer.write(utt, table[utt])
    write_text(scp, "".join(f"{utt} {ark}:{offset}\n" for utt, offset in writer.offsets.items()))


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """Read an archive whole; raises ValueError naming it when it is cut short."""
    try:
        return dict(kaldiio.load_ark(str(path)))
    except Exception as error:  # kaldiio lets struct, value and assertion errors through
        raise ValueError(f"{path}: not a whole archive ({error}): remove it and run stage 4 again") from None
