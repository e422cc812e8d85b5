#!/usr/bin/env python3
"""The page of a year with many machines: how long it takes without t-SNE, how large it is, when it is first painted.

    .venv/bin/python test/benchmark/page.py                      # 16 machines, 3,200 test clips of 10 s
    .venv/bin/python test/benchmark/page.py --machines 2 --clips 40 --seconds 2

Recordings are noise, embeddings are drawn, anomalies lie a little farther out. Prints each figure beside its limit and
ends with 1 where one is missed.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from asdkit.bin import report, score
from asdkit.corpus.manifest import write_manifest, write_ref
from asdkit.page import plane
from asdkit.utils.ark import write_ark
from asdkit.utils.files import write_text

RATE, DIM, DIFFERENT = 16000, 128, 8  # Hz; of an embedding; recordings of a machine that differ
LIMITS = {"seconds": 60.0, "MB of index.html": 3.0, "MB of the folder": 200.0, "GiB of memory": 1.0, "s to paint": 1.0}


def parser() -> argparse.ArgumentParser:
    """Options of the program."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--machines", type=int, default=16)
    found.add_argument("--clips", type=int, default=200, help="test clips of a machine")
    found.add_argument("--training", type=int, default=1000, help="training clips of a machine")
    found.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    found.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    return found


def make(root: Path, args: argparse.Namespace) -> None:
    """What stages 1 to 5 would have left."""
    random = np.random.default_rng(0)
    for name, count in (("dev_train", args.training), ("dev_test", args.clips)):
        rows, truth, vectors = [], [], {}
        for m in range(args.machines):
            machine = f"machine{m:02d}"
            folder = root / "corpus" / name / machine
            folder.mkdir(parents=True)
            for i in range(count):
                file, first = folder / f"section_00_{i:04d}.wav", folder / f"section_00_{i % DIFFERENT:04d}.wav"
                if i < DIFFERENT:
                    tone = np.sin(2 * np.pi * (100 + 37 * i) * np.arange(round(args.seconds * RATE)) / RATE)
                    soundfile.write(file, 0.02 * random.normal(size=len(tone)) + 0.05 * tone, RATE)
                else:
                    os.link(first, file)
                domain = "target" if i % 10 == 0 or (name == "dev_test" and i % 2) else "source"
                condition = "anomaly" if name == "dev_test" and i % 4 < 2 else "normal"
                utt = f"{machine}-{name[4:]}-{i:04d}"
                hidden = "-" if name == "dev_test" else domain
                row = {"utt": utt, "wav": f"{name}/{machine}/{file.name}", "machine": machine, "section": "00"}
                row |= {"domain": hidden, "attr": "-", "samples": str(round(args.seconds * RATE)), "bytes": "-"}
                rows.append(row)
                truth.append({"utt": utt, "condition": condition, "domain": domain})
                vectors[utt] = random.normal(1, 1.2 if condition == "anomaly" else 1, DIM).astype(np.float32)
        write_manifest(root / "data" / name / "manifest.tsv", rows)
        if name == "dev_test":
            write_ref(root / "data" / name / "ref.tsv", truth)
        write_ark(root / "exp" / "tag" / "seed0" / "embed" / name / "embedding.ark", vectors)
    told = f"name: x\nname_style: dcase2022\nprotocol: dcase2022\nsets: {{dev: {{path: dev}}}}\nroot: {root}/corpus\n"
    write_text(root / "data" / "dataset.yaml", told)
    write_text(root / "exp" / "tag" / "config.yaml", "score:\n  k: 1\n")
    with contextlib.redirect_stdout(io.StringIO()):
        score.main(["--data", str(root / "data"), "--exp", str(root / "exp" / "tag"), "--seed", "0"])


def reported(root: Path) -> None:
    """Make the page without t-SNE, and print seconds and GiB as JSON."""
    plane.tsne = lambda x: x[:, :2]
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        report.main(["--data", str(root / "data"), "--exp", str(root / "exp" / "tag")])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.monotonic() - start, "GiB of memory": memory}))


def main() -> int:
    """Make it, measure it, compare it with the limits."""
    args = parser().parse_args()
    if args.report:
        reported(args.report)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, args)
        command = [sys.executable, __file__, "--report", folder]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        page = root / "exp" / "tag" / "report"
        found["MB of index.html"] = (page / "index.html").stat().st_size / 1e6
        found["MB of the folder"] = sum(path.stat().st_size for path in page.rglob("*") if path.is_file()) / 1e6
        sys.path.insert(0, str(Path(__file__).parents[1]))
        import browser

        if browser.FOUND:
            with browser.Browser() as chromium:
                chromium.open(page / "index.html")
                painted = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0]"
                chromium.until(painted)
                found["s to paint"] = chromium.run(painted) / 1000
    for name, limit in LIMITS.items():
        print(f"{name:18} {found[name]:8.2f}  (limit {limit:g})" if name in found else f"{name:18} not measured")
    return int(any(found[name] > limit for name, limit in LIMITS.items() if name in found))


if __name__ == "__main__":
    sys.exit(main())
