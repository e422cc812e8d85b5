#!/usr/bin/env bash
# torch 2.13.0: a network built on the meta device, to save the time of its random weights, first loads torch's compiler.
# Guess before: no values are made, so a layer there costs nothing. That holds of nn.Linear and nn.Conv1d, whose uniform
# weights torch leaves out by itself. One draw from a normal distribution (nn.Embedding, nn.init.normal_), or one norm, is
# done by torch's references in Python instead, which import torch._dynamo: 1.1 s and 823 modules here, once a process,
# against 0.001 s for the same layer on the CPU. An optimiser of torch.optim imports it as well when it is made.
# Hurts programs that read a checkpoint into a network made on the meta device and end soon: loaders, command lines, services
# that start often. Weights of small networks are drawn a thousand times as fast.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys
import time

import torch
from torch import nn

seconds, loaded = {}, {}
for name, device, make in (
    ("Embedding on the CPU", "cpu", lambda: nn.Embedding(8, 8)),
    ("Linear, meta", "meta", lambda: nn.Linear(8, 8)),
    ("Conv1d, meta", "meta", lambda: nn.Conv1d(8, 8, 3)),
    ("Embedding, meta", "meta", lambda: nn.Embedding(8, 8)),
    ("Embedding, meta, again", "meta", lambda: nn.Embedding(8, 8)),
):
    before, start = len(sys.modules), time.perf_counter()
    with torch.device(device):
        make()
    seconds[name], loaded[name] = time.perf_counter() - start, "torch._dynamo" in sys.modules
    print(f"{name}: {seconds[name]:.4f} s, {len(sys.modules) - before} modules more, torch._dynamo there: {loaded[name]}")
sys.exit(not (loaded["Embedding, meta"] and not loaded["Conv1d, meta"] and not loaded["Embedding on the CPU"]))
PYTHON
