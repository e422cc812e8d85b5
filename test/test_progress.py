"""Progress: what programs tell, and the line that moves on the terminal where a recipe was started."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from recipe import CONFIG, MINI, make_corpus
from shell_helpers import ROOT, Checkout, fake_slurm, running, wait_until

from asdkit.utils import cli

RUN = ROOT / "utils" / "run_local.sh"
BAR = "train seed 0:  45%|####5     | 90/200 [00:04<00:05, 22.1step/s]"
TRAIN = ["--stage", "3", "--stop-stage", "3"]


class Terminal:
    """A command in a terminal of its own, so many columns wide."""

    def __init__(self, command, columns=100, **options):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def prepare():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.output = ""
        options["env"] = options.get("env", dict(os.environ)) | {"TERM": "xterm"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=prepare, **options)
        os.close(slave)

    def read(self, until=lambda output: False, seconds=30):
        """Read until the output so far is as asked, or the last process has left the terminal."""
        end = time.monotonic() + seconds
        while not until(self.output):
            assert time.monotonic() < end, self.output
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self.master, 4096).decode()
                except OSError:
                    break
        return self.output

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """Exit code, and the lines that stand on the screen in the end."""
        self.read()
        code = self.process.wait(30)
        os.close(self.master)
        lines = []
        for line in self.output.split("\n"):
            shown = ""
            for piece in re.split(r"(\r|\x1b\[K)", line):
                if piece == "\r":
                    place = 0
                elif piece == "\x1b[K":
                    shown = shown[:place]
                else:
                    place = 0 if not shown else place
                    shown = shown[:place] + piece + shown[place + len(piece) :]
                    place += len(piece)
            lines.append(shown)
        return code, lines


def drawn(output: str) -> list[str]:
    """The moving line's contents, one after the other."""
    return re.findall(r"\r([^\r\n\x1b]+)\x1b\[K", output)


@pytest.fixture
def mini(tmp_path):
    checkout = Checkout(tmp_path)
    checkout.env |= {"GO": str(tmp_path / "go"), "WAIT_AT": "bin.train", "SHOW": BAR}
    (checkout.recipe / "exp/default").mkdir(parents=True)
    return checkout


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".progress")]


@pytest.mark.parametrize("cluster", [False, True], ids=["local", "Slurm"])
def test_a_stage_shows_a_line_that_moves_and_leaves_none(mini, tmp_path, cluster):
    words = ["--cmd", "run_slurm.sh"] if cluster else []
    mini.env |= fake_slurm(tmp_path) if cluster else {}
    (tmp_path / "hold").touch()
    terminal = Terminal([mini.recipe / "run.sh", *TRAIN, *words], 50, env=mini.env)
    if cluster:
        terminal.read(lambda output: "7_1 PENDING (Resources)" in output)
        (tmp_path / "hold").unlink()
    output = terminal.read(lambda output: len({line for line in drawn(output) if "train seed 0" in line}) >= 2)
    times = [line.split("  ")[0] for line in drawn(output) if "train" in line]
    assert all(re.fullmatch(r"\d:\d\d", shown) for shown in times) and len(set(times)) >= 2
    assert max(map(len, drawn(output))) == 49 and drawn(output)[-1].endswith(BAR[:43])
    assert output.index("log: exp/default/log/3.train.seed0.log") < output.index("\x1b[K")
    (tmp_path / "go").touch()
    code, screen = terminal.end()
    assert code == 0 and re.fullmatch(r"== stage 3 \(train\): [\d:]+", screen[0])
    assert [line for line in screen[1:] if "   job: " not in line] == ["   log: exp/default/log/3.train.seed0.log", ""]
    assert cluster == any(re.fullmatch(r"   job: 7 \(3\.train\.seed0-\w+\)", line) for line in screen)
    assert "\x1b[?25l" not in terminal.output, "the cursor was hidden"
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("cluster", [False, True], ids=["local", "Slurm"])
def test_ctrl_c_leaves_the_terminal_clean(mini, tmp_path, cluster):
    words, marker = ["--cmd", "run_slurm.sh"] if cluster else [], f"progress-{tmp_path}"
    mini.env |= {"SLEEP_AT": "bin.train", "MARKER": marker} | (fake_slurm(tmp_path) if cluster else {})
    if cluster:
        text = f"#!/bin/sh\nrm -f {tmp_path}/queue/*\n"
        (tmp_path / "bin/scancel").write_text(text)
        (tmp_path / "bin/scancel").chmod(0o755)
    terminal = Terminal([mini.recipe / "run.sh", *TRAIN, *words], env=mini.env)
    terminal.read(lambda output: BAR in output)
    terminal.type("\x03")
    code, screen = terminal.end()
    wrapper = "run_slurm.sh: cancelled job 7" if cluster else "run_local.sh: stopped"
    assert code == 130 and [line for line in screen[2:] if "   job: " not in line] == [wrapper, "asd.sh: stopped", ""]
    if cluster:
        for process in running(marker):  # what this Slurm does not end
            os.kill(int(process), signal.SIGKILL)
    assert wait_until(lambda: not running(marker)) and not left_behind(tmp_path)


def test_several_jobs_share_one_line(tmp_path):
    script = '[[ $1 == 2 ]] || { echo "half of $1" >$ASDKIT_PROGRESS; while [[ ! -e go ]]; do sleep 0.1; done; }'
    terminal = Terminal([RUN, "JOB=1:3", "x.JOB.log", "bash", "-c", script, "-", "JOB"], cwd=tmp_path)
    terminal.read(lambda output: "1 of 3 done  half of 1  half of 3" in output)
    (tmp_path / "go").touch()
    assert terminal.end() == (0, [""])


def test_a_failure_is_told_where_the_line_was(tmp_path):
    terminal = Terminal([RUN, "x.log", "bash", "-c", "echo half >$ASDKIT_PROGRESS; sleep 1.5; exit 3"], cwd=tmp_path)
    code, screen = terminal.end()
    assert code == 1 and screen[:2] == ["run_local.sh: 1 / 1 failed:", "  x.log"] and "half" in terminal.output


def test_killed_jobs_and_killed_wrappers_leave_no_line(tmp_path):
    script = "echo $$ >pid; echo half >$ASDKIT_PROGRESS; sleep 600"
    terminal = Terminal([RUN, "x.log", "bash", "-c", script], cwd=tmp_path)
    terminal.read(lambda output: "half" in output)
    terminal.process.kill()
    try:
        terminal.read(lambda output: output.endswith("\r\x1b[K"))
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    (tmp_path / "x.log.progress").write_text("of a run whose computer went down")
    for script in ("true", "echo half >$ASDKIT_PROGRESS; kill -KILL $PPID"):
        subprocess.run([RUN, "x.log", "bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=30)
        assert not left_behind(tmp_path)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_nothing_moves_without_a_terminal(tmp_path, term):
    words, env = [RUN, "x.log", "bash", "-c", "sleep 1.2"], {"PATH": "/usr/bin:/bin", "TERM": term}
    if term == "dumb":
        words = ["env", "TERM=dumb", *words]
        assert Terminal(words, cwd=tmp_path, env=env).end() == (0, [""])
    else:
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=30)
        assert (done.stdout, done.stderr) == (b"", b"")


def test_each_log_is_named_when_its_jobs_begin(tmp_path):
    mini = Checkout(tmp_path)
    done = mini.run("--stage", "1", "--seeds", "0 10", "--nj", "3")
    told = [line.removeprefix("   log: ") for line in done.stdout.splitlines() if line.startswith("   log: ")]
    listed = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(told)}"], capture_output=True, text=True, timeout=20
    ).stdout.split()
    assert sorted(listed) == sorted(str(path.relative_to(mini.recipe)) for path in mini.recipe.rglob("*.log"))
    assert "   log: " not in mini.run("--dry-run").stdout


def test_a_job_writes_a_line_a_second_beside_its_log(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    file, now = tmp_path / "x.log.progress", [0.0]
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setenv("ASDKIT_PROGRESS", str(file))
    monkeypatch.delenv("RANK", raising=False)
    seen = []
    for _ in cli.progress(range(20), "letters", unit="page", done=5):
        seen.append(file.read_text())
        now[0] += 0.5
    assert not file.exists() and len({len(line) for line in seen}) == 1 and len(set(seen)) == 10
    assert seen[0].rstrip() == "letters:  20%|##        | 5/25 [00:00<?, ?page/s]"
    assert seen[10].rstrip() == "letters:  60%|######    | 15/25 [00:05<00:05,  2.00page/s]"
    assert [record.message for record in caplog.records] == ["letters: 25/25 [00:10<00:00,  2.00page/s]"]


def test_a_log_of_a_day_stays_short(monkeypatch, caplog):
    caplog.set_level("INFO")
    now = [0.0]
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: now[0]))
    times = []
    for count, _ in enumerate(cli.progress(iter(range(86400)), "train", unit="step")):
        now[0] += 1
        if len(caplog.records) > len(times):
            times.append(count)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert gaps[:10] == [10] * 10 and gaps == sorted(gaps) and gaps[-1] == 600 and 150 < len(times) < 300
    assert caplog.records[0].message == "train: 10 [00:10,  1.00step/s]"


def test_progress_is_no_reason_to_fail(tmp_path, monkeypatch):
    monkeypatch.setenv("ASDKIT_PROGRESS", str(tmp_path / "no folder/x.progress"))
    assert list(cli.progress("abc", "letters")) == list("abc")
    assert list(cli.progress([], "letters")) == [] and list(cli.progress(iter("abc"), "letters")) == list("abc")


def test_what_fails_leaves_no_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("ASDKIT_PROGRESS", str(tmp_path / "x.progress"))
    with pytest.raises(ZeroDivisionError):
        for _ in cli.progress("abc", "letters"):
            assert (tmp_path / "x.progress").exists()
            1 / 0  # noqa: B018
    assert not (tmp_path / "x.progress").exists()


def test_of_several_processes_the_first_one_tells(tmp_path, monkeypatch):
    monkeypatch.setenv("ASDKIT_PROGRESS", str(tmp_path / "x.progress"))
    for rank, tells in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        for _ in cli.progress("abc", "letters"):
            assert (tmp_path / "x.progress").exists() == tells


PRETRAINING = """
arch: {encoder_layers: 1, encoder_embed_dim: 24, encoder_ffn_embed_dim: 48, encoder_attention_heads: 4, embed_dim: 16,
       conv_pos: 16, conv_pos_groups: 4, encoder_layerdrop: 0.0}
sound: {crop_seconds: 0.5}
tokenizer: {codes: 16, dim: 8, statistics_clips: 4}
predictor: {dim: 16, heads: 2, conv_pos: 8}
train: {steps: 2, batch_size: 2, warmup_steps: 1}
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What programs told of, as `what total unit`."""
    from tqdm import tqdm

    seen, form = {}, tqdm.format_meter

    def format_meter(n, elapsed, total, prefix, unit, **others):
        seen[f"{prefix} {total} {unit}"] = n
        return form(n, elapsed=elapsed, total=total, prefix=prefix, unit=unit, **others)

    monkeypatch.setattr(tqdm, "format_meter", format_meter)
    monkeypatch.setenv("ASDKIT_PROGRESS", str(tmp_path / "x.progress"))
    return seen


def test_every_stage_tells_how_far_it_is(tmp_path, monkeypatch, told):
    from asdkit.bin import extract_embeddings, extract_feats, make_lists, prepare_data, report, score, train

    monkeypatch.syspath_prepend(str(MINI / "local"))
    import generate

    work = ["--data", str(tmp_path / "data"), "--dump", str(tmp_path / "dump"), "--exp", str(tmp_path / "exp/tiny")]
    scored = [*work[:2], *work[4:]]
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    generate.main(["--out", str(tmp_path / "mini"), "--clips-per-domain", "1", "--seconds", "1"])
    dataset = ["--dataset", str(MINI / "conf/dataset.yaml")]
    prepare_data.main([*dataset, "--corpus", str(tmp_path / "mini"), *work[:2]])
    settings = ["--set", "data.feats_type=fbank", "--set", "train.steps=2", "--set", "train.checkpoint_every=1"]
    make_lists.main(["--config", str(tmp_path / "tiny.yaml"), *settings, *work])
    extract_feats.main(work)
    extract_feats.main([*work, "--merge", "true"])
    train.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--merge", "true"])
    score.main(scored)
    report.main(scored)
    sets = {"dev_train": 12, "dev_test": 12, "eval_train": 8, "eval_test": 8}
    expected = {f"{what} {name} {clips} clip" for what in ("features of", "embed") for name, clips in sets.items()}
    expected |= {"generate 40 clip", "train seed 0 2 step", "score by knn 5 machine", "evaluate seed0 1 score"}
    assert {what for what in told if not what.startswith("reading ")} == expected < told.keys()


def test_a_download_tells_how_far_it_is(told):
    from asdkit.fetch.download import _run

    _run([lambda received, _: received(3 << 20)], 1, 3)
    assert told.keys() == {"download 3 MiB"}


def test_pretraining_tells_how_far_it_is(tmp_path, told):
    from asdkit.bin import list_audio, pretrain
    from asdkit.encoders.logmel import Logmel
    from asdkit.pretrain.probe import pooled_features

    corpus = make_corpus(tmp_path / "mini", 1)
    (tmp_path / "c.yaml").write_text(PRETRAINING)
    options = ["--config", str(tmp_path / "c.yaml")]
    list_audio.main([*options, "--corpus", str(corpus), "--out", str(tmp_path / "list.tsv")])
    pretrain.main([*options, "--list", str(tmp_path / "list.tsv"), "--exp", str(tmp_path / "exp")])
    pooled_features(Logmel(), sorted(corpus.rglob("*.wav"))[:3], batch_size=2)
    assert {"reading headers 40 clip", "pre-train 2 step", "read 3 clip", "embed 2 batch"} == told.keys()
