#!/usr/bin/env bash
# transformers 5.24.0: ASTFeatureExtractor pads short clips with frames that are louder than most machines.
# It appends zeros to the log-mel frames and normalises afterwards. A zero of a log-mel is a loud frame, not a silent one:
# padded frames hold 0.467, where digital silence holds -1.28 and white noise of standard deviation 0.1 has a mean below 0.4.
# No attention mask comes with it, and the model attends to all 1,024 frames: of a clip of 2 s, 80 % of what it hears is that.
# Hurts whoever embeds clips that are shorter than 10.24 s, and compares clips of different lengths most of all.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.13.0 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from transformers import ASTFeatureExtractor

extractor = ASTFeatureExtractor()
noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)


def features(wav):
    return extractor(wav, sampling_rate=16_000, return_tensors="np")


made = features(noise)
frames = made["input_values"][0]
silence = features(np.zeros(32_000, np.float32))["input_values"][0]
sound, padding = frames[:190], frames[210:]
share = len(padding) / len(frames)
print(f"keys: {', '.join(made)}; {len(frames)} frames for 2 s of noise, of which {share:.0%} are padding")
print(f"padding {padding.min():.3f} to {padding.max():.3f}; means: noise {sound.mean():.3f}, ", end="")
print(f"silence {silence[:190].mean():.3f}")
sys.exit(not ("attention_mask" not in made and padding.min() == padding.max() > sound.mean() > silence[:190].mean() + 1))
PYTHON
