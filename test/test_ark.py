"""Archives that are cut or damaged anywhere give an error, never fewer values."""

import kaldiio
import numpy as np
import pytest

from asdkit.utils import ark as ark_module
from asdkit.utils.ark import (
    StoredArrays,
    matrix_shape,
    open_ark,
    read_ark,
    read_arrays,
    read_frames,
    split_location,
    write_ark,
)
from asdkit.utils.files import read_scp

TABLE = {f"clip{i}": np.random.default_rng(i).normal(0, 1, 768).astype(np.float32) for i in range(2)}
UTTS = list(TABLE)


def every_cut(whole):
    """Each length near a place where something ends, and some of those between."""
    ends = [start + step for start in (0, len(whole) // 2) for step in (*range(40), 1024, 1035, 2048, 3071, 3072)]
    return sorted({0, *ends, *range(3, len(whole), 97), *range(len(whole) - 40, len(whole))})


@pytest.mark.parametrize("index", [True, False])
def test_vectors_cut_at_any_byte(tmp_path, index):
    path = tmp_path / "embedding.ark"
    write_ark(path, TABLE)
    whole = path.read_bytes()
    assert read_arrays(path, UTTS).shape == (2, 768)
    if not index:
        path.with_suffix(".scp").unlink()
    for length in every_cut(whole):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="embedding.ark: "):
            read_arrays(path, UTTS)
        if index:
            with pytest.raises(ValueError, match="embedding.ark: "):
                read_ark(path)
    path.write_bytes(whole + whole[: len(whole) // 2][:-5])  # and more than there should be
    with pytest.raises(ValueError, match="embedding.ark: "):
        read_ark(path)


def test_matrices_cut_at_any_byte(tmp_path):
    path = tmp_path / "feats.ark"
    with open_ark(path) as ark:
        for utt in UTTS:
            ark.write(utt, TABLE[utt].reshape(12, 64))
    whole, index = path.read_bytes(), read_scp(path.with_suffix(".scp"))
    first, second = (split_location(index[utt]) for utt in UTTS)
    assert read_frames(*second, 0, 12).shape == (12, 64) and matrix_shape(*first) == (12, 64)
    for length in every_cut(whole):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="feats.ark:"):
            read_frames(*second, 0, 12)
        if length < len(whole) // 2:
            with pytest.raises(ValueError, match="feats.ark:"):
                read_frames(*first, 0, 12)
        else:
            np.testing.assert_array_equal(read_frames(*first, 0, 12), TABLE["clip0"].reshape(12, 64))
    for place in range(second[1], second[1] + 15):  # a byte of the head that is greater
        spoilt = bytearray(whole)
        spoilt[place] |= 0x80
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="feats.ark:"):
            matrix_shape(*second)


def test_what_kaldi_programs_write_is_read(tmp_path):
    path = tmp_path / "embedding.ark"
    kaldiio.save_ark(str(path), TABLE, scp=str(path.with_suffix(".scp")))
    np.testing.assert_array_equal(read_arrays(path, UTTS[::-1]), np.stack([TABLE[utt] for utt in UTTS[::-1]]))


def test_rows_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ark_module, "BLOCK", 3)
    random, path = np.random.default_rng(0), tmp_path / "embedding.ark"
    table = {f"clip{i:02d}": random.normal(0, 1, (2, 5)).astype(np.float32) for i in range(10)}
    write_ark(path, table)
    utts = [f"clip{i:02d}" for i in (7, 0, 9, 3)]
    x, expected = StoredArrays(path, utts), np.stack([table[utt] for utt in utts])
    assert len(x) == 4 and x.shape == (4, 2, 5) and x.ndim == 3
    for rows in (slice(None), slice(1, 3), [3, 0], np.array([2, 2]), []):
        np.testing.assert_array_equal(x[rows], expected[rows if isinstance(rows, slice) else np.array(rows, int)])
    with pytest.raises(ValueError, match="no embedding of 2 of 3 clips: other, third"):
        StoredArrays(path, ["clip01", "other", "third"])
    for place, value, message in ((3, np.nan, "'clip03' holds NaN"), (0, 0, "'clip00' is a zero vector")):
        write_ark(path, table | {f"clip{place:02d}": np.full((2, 5), value, np.float32)})
        with pytest.raises(ValueError, match=message):
            StoredArrays(path, utts).check_directions()
    with pytest.raises(ValueError, match="written anew while it was read"):
        x[:1]


def test_a_large_file_that_is_no_archive_is_told_at_once(tmp_path):
    path = tmp_path / "embedding.ark"
    path.write_bytes(bytes(30_000_000))
    with pytest.raises(ValueError, match="is not followed by a float vector"):
        read_ark(path)
