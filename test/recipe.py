"""Running egs/mini with a tiny corpus and a tiny network, in a folder of the test's own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MINI = ROOT / "egs" / "mini"
CONFIG = """# a network that trains in seconds
encoder:
  arch: {encoder_layers: 2, encoder_embed_dim: 24, encoder_ffn_embed_dim: 48, encoder_attention_heads: 4,
         embed_dim: 16, conv_pos: 16, conv_pos_groups: 4}
  train: true
data: {chunk_seconds: 0.5}
model: {lora: {branches: 2, rank: 2}, group_adapter: {groups: 3}, embedding_dim: 8}
loss: {dlcl: {codes: 4, memory: 16}}
train: {steps: 30, batch_size: 8, lr: 1e-3, warmup_steps: 1, log_every: 10, checkpoint_every: 5}
"""


def make_corpus(out: Path, clips: int = 2, seconds: float = 1) -> Path:
    """Generate the mini recipe's corpus in small."""
    options = ["--out", str(out), "--clips-per-domain", str(clips), "--seconds", str(seconds)]
    subprocess.run([sys.executable, str(MINI / "local/generate.py"), *options], check=True, capture_output=True)
    return out


def run_stages(root: Path, jobs: int = 1) -> None:
    """Stages 1 to 5 in this process, in a folder that holds x.yaml: root/{mini,data,dump,exp/x}."""
    from asdkit.bin import extract_embeddings, make_lists, prepare_data, score, train

    before = os.getcwd()
    os.chdir(root)
    try:
        corpus = str(make_corpus(root / "mini"))
        prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", "data"])
        work = ["--data", "data", "--dump", "dump", "--exp", "exp/x"]
        make_lists.main(["--config", "x.yaml", *work])
        train.main([*work, "--device", "cpu"])
        shards = ["--num-jobs", str(jobs)]
        for job in range(1, jobs + 1):
            extract_embeddings.main([*work, "--device", "cpu", *shards, "--job", str(job)])
        extract_embeddings.main([*work, *shards, "--merge", "true"])
        score.main(["--data", "data", "--exp", "exp/x"])
    finally:
        os.chdir(before)


def environment(**extra: str) -> dict[str, str]:
    """This process's environment with this interpreter first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": "", **extra}


class Recipe:
    """One working folder of egs/mini/run.sh."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.exp = folder, folder / "exp" / "tiny"
        (folder / "tiny.yaml").write_text(CONFIG)
        self.options = ["--corpus", str(corpus), "--config", str(folder / "tiny.yaml"), "--num-threads", "1"]
        for key, name in (("data", "data"), ("dump", "dump"), ("expdir", "exp")):
            self.options += [f"--{key}", str(folder / name)]

    def start(self, *options: str) -> subprocess.Popen:
        """Start run.sh in a session of its own; its output goes to out.txt."""
        with open(self.folder / "out.txt", "w") as out:
            command = ["bash", str(MINI / "run.sh"), "--stage", "1", *self.options, *options]
            return subprocess.Popen(command, stdout=out, stderr=out, env=environment(), start_new_session=True)

    def run(self, *options: str) -> subprocess.CompletedProcess:
        """Run run.sh to its end; stdout holds all output."""
        process = self.start(*options)
        try:
            code = process.wait(timeout=600)
        finally:
            kill_session(process)
        return subprocess.CompletedProcess(process.args, code, (self.folder / "out.txt").read_text())

    def kill_when(self, seen: Path, *options: str) -> None:
        """Run until the file `seen` exists, then kill -9 the driver and everything it started."""
        process = self.start(*options)
        deadline = time.monotonic() + 120
        while not seen.exists():
            assert process.poll() is None, (self.folder / "out.txt").read_text()
            assert time.monotonic() < deadline, f"{seen} did not appear"
            time.sleep(0.01)
        kill_session(process)
        assert process.wait() == -signal.SIGKILL

    def results(self) -> dict[str, bytes]:
        """Every score file and embedding index's archive of the experiment, by relative path."""
        files = [*self.exp.glob("seed*/score/*/*.tsv"), *self.exp.glob("seed*/embed/*/embedding.ark")]
        return {str(path.relative_to(self.exp)): path.read_bytes() for path in sorted(files)}


def kill_session(process: subprocess.Popen) -> None:
    """kill -9 every process of the session, and wait for their end: until then they hold their locks."""
    deadline = time.monotonic() + 60
    while not subprocess.run(["pkill", "-KILL", "-r", "D,R,S,T", "-s", str(process.pid)], check=False).returncode:
        assert time.monotonic() < deadline, f"session {process.pid} does not end"
        time.sleep(0.01)
