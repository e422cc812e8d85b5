#!/usr/bin/env bash
# torch 2.14.1 (its oneDNN), on CPUs with AMX: grouped convolutions in bfloat16 give wrong numbers, without a word.
# Groups of an even number of channels below 16, with kernels of 16 taps and more: the result has nothing to do with the right
# one (relative error 1.1 to 1.2, as of two unrelated signals). With 16 channels a group, 3 taps, an odd number of channels,
# or with the same CPU told to stay at AVX-512 (ONEDNN_MAX_CPU_ISA), the error is that of bfloat16, 0.003.
# The position convolutions of wav2vec 2.0, HuBERT, WavLM and BEATs are of this kind. Published sizes have 48 to 64 channels in
# a group and are right; reduced ones, as people distil or test with, are not: their embeddings under autocast are noise.
# On CPUs without AMX there is nothing to see, and this script says so.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! grep -qsw amx_bf16 /proc/cpuinfo; then
    echo "this CPU has no AMX: nothing to see"
    exit 0
fi
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.2.6
cd "$work"

cat >errors.py <<'PYTHON'
import torch
import torch.nn.functional as F


def error(channels: int, taps: int) -> float:
    """Of four groups of so many channels in bfloat16, relative to float32."""
    torch.manual_seed(0)
    x = torch.randn(2, 4 * channels, 100)
    weight = torch.randn(4 * channels, channels, taps) / (channels * taps) ** 0.5
    right = F.conv1d(x, weight, padding=taps // 2, groups=4)
    found = F.conv1d(x.bfloat16(), weight.bfloat16(), padding=taps // 2, groups=4).float()
    return float((found - right).norm() / right.norm())


print(*(f"{error(channels, taps):.3f}" for channels, taps in ((8, 16), (14, 64), (16, 16), (8, 3), (7, 16))))
PYTHON
read -r eight fourteen sixteen short odd < <("$python" -W ignore errors.py)
read -r told _ < <(ONEDNN_MAX_CPU_ISA=AVX512_CORE "$python" -W ignore errors.py)
echo "relative error of bfloat16: 8 channels a group, 16 taps: $eight; 14 and 64: $fourteen"
echo "16 channels and 16 taps: $sixteen; 8 and 3: $short; 7 and 16: $odd; 8 and 16 without AMX: $told"
awk "BEGIN { exit !($eight > 0.5 && $fourteen > 0.5 && $sixteen < 0.01 && $short < 0.01 && $odd < 0.01 && $told < 0.01) }"
