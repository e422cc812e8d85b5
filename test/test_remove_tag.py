"""utils/remove_tag.sh: what goes, what stays, and when it is refused."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipe import environment
from shell_helpers import ROOT, fake_slurm
from test_report import write_seed

from asdkit.bin import remove_tag, report
from asdkit.utils.files import write_text


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe's folder with the tags `one` and `two`, reports and dumped features."""
    folder = tmp_path / "it's a recipe"
    for tag in ("one", "two"):
        write_seed(folder / "exp" / tag, 0, 0.5)
        write_text(folder / "exp" / tag / "config.yaml", "encoder: {name: logmel}\ndata: {feats_type: fbank}\n")
        report.main(["--exp", str(folder / "exp" / tag)])
    write_text(folder / "dump/logmel/dev_train/split1/feats.1.ark", "x" * 200_000)
    monkeypatch.chdir(folder)
    return folder


def remove(*words: str) -> None:
    remove_tag.main(["--exp", "exp/one", "--yes", "true", *words])


def test_the_folder_and_its_row_go_and_the_rest_stays(recipe, capsys):
    before = {path: path.read_bytes() for path in (recipe / "exp/two").rglob("*") if path.is_file()}
    assert "| one " in Path("exp/RESULTS.md").read_text()
    remove()
    assert sorted(path.name for path in Path("exp").iterdir() if not path.name.startswith(".")) == ["RESULTS.md", "two"]
    assert {path: path.read_bytes() for path in (recipe / "exp/two").rglob("*") if path.is_file()} == before
    text = Path("exp/RESULTS.md").read_text()
    assert "| one " not in text and "| two " in text
    assert Path("dump/logmel").is_dir()
    printed = capsys.readouterr().out
    assert "exp/one: 0." in printed and "  seed0: 0.0 MB\n" in printed and "dump" not in printed


def test_features_go_when_asked_and_no_other_tag_reads_them(recipe, capsys):
    remove("--features", "true")
    assert Path("dump/logmel").is_dir(), "the other tag reads them"
    remove_tag.main(["--exp", "exp/two/", "--yes", "true"])
    assert "dump/logmel: 0.2 MB (stays; --features true)" in capsys.readouterr().out and Path("dump/logmel").is_dir()
    write_text("exp/one/config.yaml", "encoder: {name: logmel}\ndata: {feats_type: fbank}\n")
    write_text("exp/raw/config.yaml", "encoder: {name: logmel}\n")
    remove("--features", "true")
    assert not Path("dump/logmel").exists() and Path("dump").is_dir() and Path("exp/raw").is_dir()


def test_features_stay_when_another_configuration_cannot_be_read(recipe):
    write_text("exp/two/config.yaml", "broken: [")
    remove("--features", "true")
    assert Path("dump/logmel").is_dir()


def test_links_go_and_what_they_point_to_stays(recipe, tmp_path, capsys):
    write_text(tmp_path / "disk/last.pt", "weights")
    (recipe / "exp/one/seed0/checkpoint").symlink_to(tmp_path / "disk")
    (recipe / "exp/linked").symlink_to(recipe / "exp/two")
    with pytest.raises(ValueError, match="exp/linked: a symbolic link to .*exp/two, which is not followed"):
        remove_tag.main(["--exp", "exp/linked", "--yes", "true"])
    remove()
    assert f"seed0/checkpoint is a link; {tmp_path}/disk stays" in capsys.readouterr().out
    assert (tmp_path / "disk/last.pt").read_text() == "weights" and (recipe / "exp/two/config.yaml").exists()


@pytest.mark.parametrize("folder", ["exp", "dump", "exp/one/seed0", "exp/none", "exp/one/config.yaml", "."])
def test_what_is_no_experiment_is_refused(recipe, folder):
    before = sorted(recipe.rglob("*"))
    with pytest.raises(ValueError, match=f"{folder}: no experiment, for it has no config.yaml; nothing is removed"):
        remove_tag.main(["--exp", folder, "--yes", "true"])
    assert sorted(recipe.rglob("*")) == before


def test_a_fusion_goes_too(recipe):
    write_text("exp/both/seed0/score/fusion/made_from.json", "{}")
    remove_tag.main(["--exp", "exp/both", "--yes", "true"])
    assert not Path("exp/both").exists() and Path("exp/two").is_dir()


def script(*words: str, **env: str) -> subprocess.CompletedProcess:
    command, pipes = [ROOT / "utils/remove_tag.sh", *words], {"capture_output": True, "text": True}
    return subprocess.run(command, env=environment(**env), stdin=subprocess.DEVNULL, timeout=120, **pipes)


def test_refused_while_a_run_holds_it(recipe):
    with open("exp/one/.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = script("--yes", "true", "exp/one")
        assert done.returncode == 1 and "a run is at work in exp/one, or a job" in done.stderr
        assert "'fuser exp/one/.lock' names its process" in done.stderr
    assert Path("exp/one/config.yaml").exists()


def test_refused_while_slurm_has_its_jobs(recipe, tmp_path):
    env = fake_slurm(tmp_path) | {"PATH": f"{tmp_path}/bin:{environment()['PATH']}"}
    write_text("exp/one/.jobs/3.train.seed0-abc", "")
    write_text(tmp_path / "queue/3.train.seed0-abc", "7_1 RUNNING\n7_2 PENDING\n")
    done = script("--yes", "true", "exp/one", **env)
    assert done.returncode == 1 and "at work in exp/one; Slurm: 7_1 RUNNING, 7_2 PENDING\n" in done.stderr
    (tmp_path / "queue/3.train.seed0-abc").unlink()
    assert script("--yes", "true", "exp/one", **env).returncode == 0
    assert not Path("exp/one").exists()


@pytest.mark.parametrize("answer, gone", [("y", True), ("", False), ("no", False)])
def test_a_person_is_asked(recipe, monkeypatch, answer, gone):
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    remove_tag.main(["--exp", "exp/one"])
    assert Path("exp/one").exists() is not gone


def test_a_killed_removal_goes_on(recipe, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remove_tag.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove()
    assert Path("exp/one/config.yaml").exists()
    remove()
    assert not Path("exp/one").exists()


def test_the_script(recipe):
    done = script("exp/one")
    assert done.returncode == 1 and done.stderr == "error: nobody is there to be asked: say --yes true\n"
    done = script("--yes", "exp/one", "exp/two")
    assert done.returncode == 1 and "--yes is true or false, not 'exp/one'" in done.stderr
    done = script("--yes", "true")
    assert done.returncode == 1 and "got 0 folders, expected one: exp/<tag>" in done.stderr
    write_text("conf/published.yaml", "broken")
    done = script("--yes", "true", "exp/one")
    assert done.returncode == 1 and "conf/published.yaml" in done.stderr and Path("exp/one/config.yaml").exists()
    shutil.copy(ROOT / "egs/dcase2023/conf/published.yaml", "conf")
    done = script("--yes", "true", "exp/one")
    assert done.returncode == 0 and done.stdout.endswith("removed exp/one\n"), done.stderr
    assert not Path("exp/one").exists() and "## Published" in Path("exp/RESULTS.md").read_text()
