#!/usr/bin/env bash
# soundfile 0.13.1 (libsndfile 1.2.2): in an open MP3 file, what is read after a short way back begins with wrong samples.
# The decoder needs the frames before a position to be right there, and goes back too few of them when the position lies just
# behind what it has decoded: the first hundreds of samples are wrong. The right number of samples comes, and no exception (a
# line of the MP3 library on stderr at most). Windows of 8,000 samples that overlap by 1,000, from one open file: 44 of 45 seen
# wrong. The same windows are right when the file is opened anew for each, and those of the recording as FLAC always.
# Hurts whoever cuts overlapping windows or random crops from MP3 recordings through one open file: training data with clicks.
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

rate, length, step = 16000, 8000, 7000
noise = np.random.default_rng(0).normal(0, 0.1, 20 * rate)
for kind in ("mp3", "flac"):
    soundfile.write(f"x.{kind}", noise, rate)


def wrong(kind, anew):
    """How many windows differ from the same part of the file when it is read whole, by more than rounding."""
    whole = soundfile.read(f"x.{kind}")[0]
    starts = range(0, len(whole) - length, step)
    file, found = soundfile.SoundFile(f"x.{kind}"), 0
    for start in starts:
        if anew:
            file = soundfile.SoundFile(f"x.{kind}")
        file.seek(start)
        found += bool(np.abs(file.read(length) - whole[start : start + length]).max() > 1e-3)
    return found, len(starts)


mp3, anew, flac = wrong("mp3", False), wrong("mp3", True), wrong("flac", False)
print(f"wrong windows, of all: mp3 from one open file {mp3}, mp3 opened for each {anew}, flac from one open file {flac}")
sys.exit(not (mp3[0] > mp3[1] / 2 and anew[0] == flac[0] == 0))
PYTHON
