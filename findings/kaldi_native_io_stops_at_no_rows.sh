#!/usr/bin/env bash
# kaldiio 2.18.1 meets kaldi-native-io 1.23.0: a matrix of shape (0, 8) ends the reading of the archive, without an exception.
# kaldiio writes and reads back a matrix that has columns but no rows (a recording without a speech frame). Kaldi's own
# format knows only (0, 0): kaldi-native-io's sequential reader takes the entry for broken, logs a line from C++, and its
# loop ends as if the archive did. Seen: 3 of 10 entries, the empty one and all behind it missing.
# Hurts whoever writes features in Python and reads them with Kaldi's code: what comes after the first empty recording is lost.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check kaldiio==2.18.1 kaldi-native-io==1.23.0 numpy==2.2.6
cd "$work"

"$python" - <<'PYTHON'
import sys

import kaldi_native_io
import kaldiio
import numpy as np

table = {f"clip{number}": np.ones((0 if number == 3 else 5, 8), np.float32) for number in range(10)}
kaldiio.save_ark("x.ark", table)
ours = len(dict(kaldiio.load_ark("x.ark")))
with kaldi_native_io.SequentialFloatMatrixReader("ark:x.ark") as reader:
    theirs = sum(1 for _ in reader)
print(f"of 10 entries kaldiio reads {ours}, kaldi-native-io {theirs}, neither with an exception")
sys.exit((ours, theirs) != (10, 3))
PYTHON
