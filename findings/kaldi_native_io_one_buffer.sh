#!/usr/bin/env bash
# kaldi-native-io 1.23.0: all arrays that a reader hands out are views of one buffer.
# Each is right while it is looked at in the loop, and shows the next entry's values as soon as the reader has moved on: a
# table that is gathered with dict() or list() holds one vector again and again, with the right names and shapes. Seen, for
# 50 vectors that are all different: 0 of 50 right in dict(reader) (all show what the buffer held last), 50 of 50 with a copy
# of each.
# Hurts whoever gathers embeddings or i-vectors from an archive into a table before scoring: every clip has one embedding.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check kaldi-native-io==1.23.0 numpy==2.2.6
cd "$work"

"$python" - <<'PYTHON'
import sys

import kaldi_native_io
import numpy as np

with kaldi_native_io.FloatVectorWriter("ark:x.ark") as writer:
    for number in range(50):
        writer.write(f"clip{number:02}", np.full(768, number, np.float32))


def right(table):
    return sum(bool((values == int(name[4:])).all()) for name, values in table.items())


with kaldi_native_io.SequentialFloatVectorReader("ark:x.ark") as reader:
    gathered = dict(reader)
    kept = right(gathered)
with kaldi_native_io.SequentialFloatVectorReader("ark:x.ark") as reader:
    seen = sum(bool((values == int(name[4:])).all()) for name, values in reader)
with kaldi_native_io.SequentialFloatVectorReader("ark:x.ark") as reader:
    copied = right({name: values.copy() for name, values in reader})
print(f"of 50 vectors are right: {seen} looked at in the loop, {kept} gathered with dict(), {copied} copied one by one")
sys.exit(not (seen == copied == 50 and kept <= 1))
PYTHON
