"""A file that is damaged between two stages is an error that names it, never another result."""

import os
from pathlib import Path

import pytest
from fault_files import DAMAGES, Chain

from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.utils.done import Done, check_written
from asdkit.utils.files import _digests

SEED = "exp/x/seed0"
FILES = {  # what one changed byte would turn into other results
    (2, "exp/x/labels.tsv"): 2,
    (2, "exp/x/classes.txt"): 2,
    (2, "dump/fbank_beats/dev_train/split2/feats.1.ark"): 2,
    (2, "dump/fbank_beats/dev_train/feats.scp"): 2,
    (3, f"{SEED}/checkpoint/final.pt"): 3,
    (4, f"{SEED}/embed/dev_train/embedding.ark"): 4,
    (5, f"{SEED}/score/knn/dev_test.tsv"): 5,
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    before = os.getcwd()
    yield Chain(tmp_path_factory.mktemp("chain"), "fbank", others=False)
    os.chdir(before)


@pytest.mark.parametrize(("stage", "name"), FILES)
def test_a_changed_byte_is_an_error_that_names_the_file(chain, stage, name):
    assert name in chain.written[stage]
    trial = chain.run(stage, name, "byte", 0)
    assert trial.outcome == "error" and f"{name}: changed since" in trial.told, trial
    assert f"--stage {FILES[stage, name]} --force true makes it again" in trial.told


@pytest.mark.long
@pytest.mark.parametrize("feats", ["raw", "fbank"])
def test_any_damage_to_any_file_is_an_error_or_changes_nothing(tmp_path, feats):
    before = os.getcwd()
    try:
        chain = Chain(tmp_path, feats)
        found = [chain.run(*where, 0) for where in chain.trials()]
    finally:
        os.chdir(before)
    trials = [trial for trial in found if trial]
    assert len(trials) > 100 and {trial.damage for trial in trials} == set(DAMAGES)
    assert not [trial for trial in trials if trial.outcome not in ("error", "same")]


def test_a_byte_of_a_checkpoint(tmp_path):
    """Whatever byte is changed: an error, or what was written."""
    import torch

    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 3, "weights": torch.arange(40.0)})
    held, whole, told = path.read_bytes(), read_checkpoint(path), 0
    for place in range(0, len(held), 7):
        path.write_bytes(held[:place] + bytes([held[place] ^ 4]) + held[place + 1 :])
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            told += "last.pt: " in str(error)
        else:
            assert found["step"] == 3 and torch.equal(found["weights"], whole["weights"])
    assert told > 20


def test_what_is_noted_of_files(tmp_path):
    marker, file = tmp_path / ".done.x", tmp_path / "a/b.txt"
    file.parent.mkdir()
    file.write_text("one")
    done = Done(marker, {})
    done.finish([file])
    check_written(marker, "--again")
    os.utime(file, ns=(5, 5))
    check_written(marker, "--again", believe_time=True)
    seen = Path(file).stat()
    done.finish([file])
    file.write_text("two")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    check_written(marker, "--again", believe_time=True)  # what is dumped is too large to be read each time
    check_written(marker, "--again", names=["other"])
    _digests.clear()  # another process
    with pytest.raises(
        ValueError, match=r"b.txt: changed since it was written. --again makes it again; .* remove .*x$"
    ):
        check_written(marker, "--again")
    file.unlink()
    with pytest.raises(ValueError, match="b.txt: gone, though it was written"):
        check_written(marker, "--again", names=["a/b.txt"])
    (tmp_path / ".written.x").unlink()  # of an older version, or meant
    check_written(marker, "--again")
