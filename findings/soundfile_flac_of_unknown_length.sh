#!/usr/bin/env bash
# soundfile 0.13.1 (libsndfile 1.2.2): a FLAC file of unknown length has 9223372036854775807 frames, and its end is not read.
# The FLAC format writes 0 as the number of samples where it is not known; what encoders leave when they write to a pipe.
# info() answers the largest 64-bit number, without an error; read() fails in numpy ("array is too big"); reading block by
# block until nothing comes fails in the last, partial block, so that the end of the recording is lost: 159,744 of 160,000
# samples seen. Parts well inside are read right.
# Hurts whoever sums lengths, sorts by them or draws positions from them before a file is decoded: one such recording makes a
# corpus of 10 hours one of 160 million.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check soundfile==0.13.1 numpy==2.2.6
cd "$work"

"$python" - <<'PYTHON'
import sys

import numpy as np
import soundfile

samples = np.random.default_rng(0).integers(-3000, 3000, 160_000).astype(np.int16)
soundfile.write("x.flac", samples, 16000)
content = bytearray(open("x.flac", "rb").read())
content[21] &= 0xF0  # the low 36 bits of bytes 18 to 25: the number of samples
content[22:26] = bytes(4)
open("x.flac", "wb").write(content)

frames = soundfile.info("x.flac").frames
with soundfile.SoundFile("x.flac") as file:
    file.seek(50_000)
    inside = bool((file.read(1000, dtype="int16") == samples[50_000:51_000]).all())
try:
    whole = len(soundfile.read("x.flac")[0])
except Exception as error:
    whole = f"{type(error).__name__}: {error}"
came = 0
with soundfile.SoundFile("x.flac") as file:
    try:
        while block := len(file.read(4096)):
            came += block
        end = "the end"
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
print(f"info().frames {frames}; a part inside is right: {inside}; read(): {whole}; by blocks {came} of 160000, then {end}")
sys.exit(not (frames == 2**63 - 1 and inside and not isinstance(whole, int) and came < 160_000 and "the end" not in end))
PYTHON
