#!/usr/bin/env bash
# peft 0.21.2 with torch 2.13.0: nn.TransformerEncoder uses its LoRA adapters in train mode and ignores them in eval mode.
# In eval mode torch's encoder layer takes a fused path that reads the weights of linear1, linear2 and the attention itself
# instead of calling the modules, so adapters that peft put around them are passed by, without a warning: the output is that of
# the base network to the bit (in train mode it is 4.9 away), with gradients enabled as well, since peft leaves base weights
# that ask for none. Merging brings the adapters into eval mode.
# Hurts whoever fine-tunes a torch encoder with LoRA: the loss falls, and the validation never moves.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check peft==0.21.2 torch==2.13.0 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
base = nn.TransformerEncoder(layer, 2)
x = torch.randn(2, 10, 32)
with torch.no_grad():
    plain = {mode: base.train(mode)(x) for mode in (True, False)}
model = get_peft_model(base, LoraConfig(r=4, target_modules=["linear1", "linear2"]))
for name, parameter in model.named_parameters():
    if "lora_" in name:
        nn.init.normal_(parameter)
far = {}
for mode, what in ((True, "train"), (False, "eval")):
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            far[what, grad] = float((model.train(mode)(x) - plain[mode]).abs().max().detach())
        print(f"{what} mode, gradients {grad}: adapters change the output by {far[what, grad]:.3g}")
with torch.no_grad():
    far["merged"] = float((model.merge_and_unload().eval()(x) - plain[False]).abs().max())
print(f"merged, eval mode: by {far['merged']:.3g}")
sys.exit(not (far["train", False] > 0.1 and far["merged"] > 0.1 and far["eval", False] < 1e-5))
PYTHON
