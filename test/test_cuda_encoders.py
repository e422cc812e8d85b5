"""On a GPU every encoder gives what it gives on a CPU, tokens and gradients, also after LoRA and adapter are put in."""

import copy

import pytest
import torch
from small_encoders import SMALL

from asdkit.config import Config
from asdkit.models.embedder import Embedder
from asdkit.utils.device import set_precision
from asdkit.utils.typed_yaml import validate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
LIMIT = 1e-4  # of the largest value
OF_LEVELS = 1e-3  # decibels of bands in which next to nothing is: what is left of them is rounding


def embedder(name: str) -> Embedder:
    """A small network with everything that can be put around it, its weights drawn so that every part acts."""
    raw = {"encoder": {"name": name, **SMALL[name], "train": SMALL[name] != {}}, "model": {"embedding_dim": 8}}
    torch.manual_seed(0)
    try:
        plain = Embedder(validate(Config, raw, "test"))
    except ValueError as error:
        if "transformers" not in str(error):
            raise
        pytest.skip(str(error))
    if not plain.encoder.blocks():
        return plain.eval()
    raw["model"] |= {"lora": {"branches": 2, "rank": 2}, "group_adapter": {"groups": 3, "hidden": 4}}
    torch.manual_seed(0)
    model = Embedder(validate(Config, raw, "test"))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_b" in key:
                parameter.normal_(std=0.1)
    return model.eval()


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    return float((found.cpu() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_encoder_is_the_same_on_a_gpu(name):
    set_precision("float32", torch.device("cuda"))
    model = embedder(name)
    wav = torch.rand(2, model.encoder.sample_rate, generator=torch.Generator().manual_seed(1)) - 0.5
    found = {}
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(model).to(device)
        feats = here.encoder.frontend(wav.to(device))
        assert apart(feats, model.encoder.frontend(wav)) < OF_LEVELS
        feats = model.encoder.frontend(wav).to(device)
        tokens = here.encoder(feats)
        here(feats).square().sum().backward()
        gradients = {key: parameter.grad for key, parameter in here.named_parameters() if parameter.grad is not None}
        found[device] = tokens.detach(), gradients
    (tokens, gradients), (on_cpu, expected) = found["cuda"], found["cpu"]
    assert apart(tokens, on_cpu) < LIMIT
    assert gradients and gradients.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    differences = {key: float((value.cpu() - expected[key]).abs().max()) for key, value in gradients.items()}
    assert not {key: value for key, value in differences.items() if value > 10 * LIMIT * largest}
