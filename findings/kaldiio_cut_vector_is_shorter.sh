#!/usr/bin/env bash
# kaldiio 2.18.1: a vector whose file ends early is read as a shorter vector, without an error.
# A matrix that is cut raises (its cells do not fill its shape). A vector is given the length of what is left, though its
# header says how long it was: of an embedding of 768 values in a file that lacks its last 2,048 bytes, 256 were seen, by
# load_ark, load_mat and load_scp alike. Only a cut within a value raises.
# Hurts whoever copies archives while they are written, or fills a disk: the last embedding of an archive changes its size,
# and what averages or pads embeddings goes on with it.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check kaldiio==2.18.1 numpy==2.2.6
cd "$work"

"$python" - <<'PYTHON'
import os
import sys

import kaldiio
import numpy as np


def read(values, lost):
    """Shapes by load_ark, load_mat and load_scp of an array whose archive lacks its last bytes."""
    kaldiio.save_ark("x.ark", {"clip": values}, scp="x.scp")
    os.truncate("x.ark", os.path.getsize("x.ark") - lost)
    with open("x.scp") as scp:
        location = scp.read().split()[1]
    readers = [lambda: dict(kaldiio.load_ark("x.ark"))["clip"], lambda: kaldiio.load_mat(location)]
    readers.append(lambda: kaldiio.load_scp("x.scp")["clip"])
    shapes = []
    for reader in readers:
        try:
            shapes.append(reader().shape)
        except Exception as error:
            shapes.append(type(error).__name__)
    return shapes


values = np.arange(768, dtype=np.float32)
vector, within, matrix = read(values, 2048), read(values, 2047), read(values.reshape(96, 8), 2048)
print(f"vector of 768, 2048 bytes short: {vector}")
print(f"vector of 768, 2047 bytes short: {within}")
print(f"matrix of 96 x 8, 2048 bytes short: {matrix}")
sys.exit(vector != [(256,)] * 3 or any(isinstance(shape, tuple) for shape in within + matrix))
PYTHON
