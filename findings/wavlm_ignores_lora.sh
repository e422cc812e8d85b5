#!/usr/bin/env bash
# transformers 5.24.0 with peft 0.21.2: LoRA on the attention of WavLM does nothing until it is merged.
# WavLM's attention hands the weights of q_proj, k_proj, v_proj and out_proj to torch's attention and never calls these modules.
# peft wraps them, counts their parameters as trainable and says nothing: with adapters far from zero the output is that of the
# base model to the bit, and no adapter is in the graph of gradients. merge_and_unload() then does apply them. HuBERT, which
# has modules of the same names, behaves as one would think.
# Hurts whoever compares encoders with one LoRA recipe: WavLM is evaluated frozen, its training loss falls by the head alone.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check transformers==5.24.0 peft==0.21.2 torch==2.13.0 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "conv_dim": [32] * 7}
SMALL |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
wav = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))


def effect(kind, config):
    """How far adapters change the output, how many of them have gradients, and how far merging changes the output."""
    torch.manual_seed(0)
    base = kind(config(**SMALL)).eval()
    before = base(wav).last_hidden_state.detach()
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]))
    adapters = [p for name, p in model.named_parameters() if "lora_" in name]
    for parameter in adapters:
        torch.nn.init.normal_(parameter)
    output = model.eval()(wav).last_hidden_state
    if output.requires_grad:
        output.square().sum().backward()
    graded = sum(p.grad is not None and bool(p.grad.abs().max() > 0) for p in adapters)
    merged = model.merge_and_unload()(wav).last_hidden_state
    far = [float((other - before).abs().max().detach()) for other in (output, merged)]
    print(f"{kind.__name__}: adapters change the output by {far[0]:.3g}, merged by {far[1]:.3g}; ", end="")
    print(f"{graded} of {len(adapters)} have a gradient")
    return far[0], far[1], graded, len(adapters)


wavlm, hubert = effect(WavLMModel, WavLMConfig), effect(HubertModel, HubertConfig)
sys.exit(not (wavlm[0] == 0 and wavlm[1] > 0.01 and wavlm[2] == 0 and hubert[0] > 0.01 and hubert[2] == hubert[3]))
PYTHON
