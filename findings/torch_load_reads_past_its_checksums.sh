#!/usr/bin/env bash
# torch 2.14.1: a checkpoint is a zip archive with a CRC-32 for each tensor, and torch.load does not look at it.
# One byte of a saved weight is changed, as a bad disk or a broken copy would do. torch.load, with weights_only or not, mapped
# or not, gives the changed weight without a word; zipfile.ZipFile.testzip() names the file inside that is damaged.
# Expected: an error, as every unzip gives.
# Hurts whoever keeps or copies checkpoints for years and takes a load without error for a whole file. Seen:
#     testzip names checkpoint/data/0; torch.load gives 1.0000001192092896 in place of 1.0, three times of three
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.2.6
cd "$work"
"$python" - <<'PYTHON'
import zipfile

import torch

torch.save({"weight": torch.ones(1000)}, "checkpoint.pt")
assert zipfile.ZipFile("checkpoint.pt").testzip() is None
content = bytearray(open("checkpoint.pt", "rb").read())
one = content.index(torch.ones(1000).numpy().tobytes())
content[one] ^= 1  # the last bit of the first weight
open("checkpoint.pt", "wb").write(content)
damaged = zipfile.ZipFile("checkpoint.pt").testzip()
print("testzip names", damaged)
found = [
    torch.load("checkpoint.pt", weights_only=weights_only, mmap=mmap)["weight"][0].item()
    for weights_only, mmap in ((True, False), (False, False), (True, True))
]
print("torch.load gives", *found)
assert damaged == "checkpoint/data/0"
assert found == [1 + 2.0**-23] * 3, "torch.load has noticed, or has mended it"
PYTHON
