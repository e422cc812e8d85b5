#!/usr/bin/env bash
# pydub 0.25.1: set_frame_rate() reduces the rate without a filter, and all above the new half of it folds down at full level.
# From 48 to 16 kHz it keeps every third sample, to the bit: a tone of 10 kHz becomes one of 6 kHz, 0.0 dB lower; from 44.1 kHz,
# where it draws lines between samples, 1.5 dB lower. (soxr 1.1.0, which filters: 52 dB lower.) There is no warning, and no
# setting for it.
# Hurts whoever brings recordings of machines to an encoder's rate with it: a whine or a leak above 8 kHz stands as a tone in
# the middle of the spectrum, where the machine has none.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check pydub==0.25.1 numpy==2.2.6 \
    "audioop-lts==0.2.1; python_version >= '3.13'"
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from pydub import AudioSegment


def to_16k(samples, rate):
    sound = AudioSegment(samples.tobytes(), frame_rate=rate, sample_width=2, channels=1)
    return np.array(sound.set_frame_rate(16000).get_array_of_samples())


found = {}
for rate in (48000, 44100):
    tone = (8000 * np.sin(2 * np.pi * 10000 * np.arange(2 * rate) / rate)).astype(np.int16)
    out = to_16k(tone, rate)
    level = float(20 * np.log10(out.std() / tone.std()))
    peak = float(np.abs(np.fft.rfft(out)).argmax() * 16000 / len(out))
    found[rate] = (level, peak)
    print(f"10 kHz at {rate} Hz, brought to 16000 Hz: a tone of {peak:.0f} Hz, {level:.2f} dB")
noise = np.random.default_rng(0).normal(0, 3000, 48000).astype(np.int16)
every_third = np.array_equal(to_16k(noise, 48000), noise[::3])
print("noise from 48 to 16 kHz is every third sample:", every_third)
sys.exit(not (every_third and all(level > -3 and abs(peak - 6000) < 2 for level, peak in found.values())))
PYTHON
