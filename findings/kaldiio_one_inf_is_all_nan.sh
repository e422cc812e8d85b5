#!/usr/bin/env bash
# kaldiio 2.18.1: one infinite cell makes the whole of a compressed matrix NaN.
# Kaldi's compressed matrices keep their cells relative to the matrix's range; kaldiio computes that range without a look at
# infinite values, writes without complaint, and every cell reads back as NaN: 1,200 of 1,200 seen, for one -inf (the log of
# one empty mel band in one frame), with compression methods 1, 2, 3 and 5. Written without compression, 1,199 are intact.
# Hurts whoever dumps log-mel features with compression: one silent frame loses the recording, and it shows in training.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check kaldiio==2.18.1 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import kaldiio
import numpy as np

feats = np.random.default_rng(0).normal(-8, 2, (100, 12)).astype(np.float32)
feats[40, 3] = -np.inf
expected = {None: 1199, 1: 0, 2: 0, 3: 0, 5: 0}
found = {}
for method in expected:
    kaldiio.save_ark("x.ark", {"clip": feats}, compression_method=method)
    ((_, read),) = kaldiio.load_ark("x.ark")
    found[method] = int(np.isfinite(read).sum())
    print(f"compression method {method}: {found[method]} of 1199 finite cells are finite when read back")
sys.exit(found != expected)
PYTHON
