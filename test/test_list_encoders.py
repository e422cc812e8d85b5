"""The table of encoders: of the program, in the README, and what it says of each."""

import pytest
from corpora import ROOT
from small_encoders import SMALL
from test_every_encoder import built as built_or_skipped
from test_every_encoder import features

from asdkit.bin import list_encoders
from asdkit.encoders import ENCODERS
from asdkit.encoders.catalogue import CATALOGUE


@pytest.fixture(scope="module")
def printed():
    return list_encoders.tables(list(CATALOGUE))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def same(row, other):
    """Rows of a table; versions of torch may count an operation or two otherwise, and not all have transformers."""
    if len(row) == 4 and row[:2] == other[:2] and row[0] != "encoder":
        known = row[2] != "needs transformers"
        return not known or row[2] == other[2] and float(row[3]) == pytest.approx(float(other[3]), rel=0.01)
    return row == other


def test_the_readme_has_what_the_program_prints(printed):
    there = [cells(line) for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    for line in printed.splitlines():
        if line and not line.startswith("| -"):
            assert any(same(cells(line), other) for other in there), f"README.md lacks {line}"


def test_every_encoder_is_told_of():
    assert set(CATALOGUE) == set(ENCODERS) == set(SMALL) | {"autoencoder"}
    assert all(name == entry.name and entry.sizes for name, entry in CATALOGUE.items())


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"autoencoder"}))
def test_what_is_said_of_the_front_end(name):
    entry = CATALOGUE[name]
    section, encoder = built_or_skipped(name)
    if entry.rate and name != "clap":  # which resamples what it is given
        assert encoder.sample_rate == 1000 * entry.rate
    if not section.spectrogram:
        assert entry.frontend == "samples"
        return
    hop = round(1000 * encoder.hop / encoder.sample_rate)
    assert name == "fisher" or f"{features(encoder).shape[2]} bands" in entry.frontend
    assert entry.frontend.endswith(f"every {hop} ms")


def test_sizes_known_from_elsewhere(printed):
    """Parameters of the authors' networks without their heads; the official autoencoder's."""
    rows = {tuple(cells(line)[:2]): cells(line)[2:] for line in printed.splitlines()}
    for name, size, millions in (
        ("beats", "base", 90.31), ("ast", "base", 86.19), ("atst_clip", "base", 85.42), ("atst_clip", "small", 21.48),
        ("atst_frame", "base", 85.42), ("clap", "tiny", 27.53), ("autoencoder", "base", 0.27),
        ("dasheng", "base", 85.45), ("dasheng", "0.6B", 630.33), ("eat", "base", 85.25), ("fisher", "tiny", 5.39),
    ):  # fmt: skip
        assert float(rows[name, size][0]) == millions
    assert float(rows["beats", "base"][1]) == pytest.approx(49.3, abs=0.01)


def test_unknown_names_are_told(capsys):
    list_encoders.main(["logmel"])
    assert "| logmel" in capsys.readouterr().out
    with pytest.raises(ValueError, match="there is no encoder 'whisper'. There are: beats, ast"):
        list_encoders.main(["whisper"])
