"""--profile: the parts of a training and of an embedding add up to their time, and change no result."""

import time

import pytest
import torch
from corpora import write_clip
from stages import NETWORK, Stages
from torch import nn

from asdkit.bin import extract_embeddings, train
from asdkit.models.profile import ATTENTION, FEED_FORWARD, HEAD, LOSS, READING, REST, WAITING, Profile
from asdkit.utils.files import read_table

CPU = torch.device("cpu")
COLUMNS = ("part", "forward_s", "backward_s", "share")


class Slow(torch.autograd.Function):
    """Takes its time, forward and backward."""

    @staticmethod
    def forward(ctx, x, seconds):
        ctx.seconds = seconds
        time.sleep(seconds)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(2 * ctx.seconds)
        return gradient, None


class Waits(nn.Module):
    def __init__(self, seconds, *inner):
        super().__init__()
        self.seconds, self.inner = seconds, nn.ModuleList(inner)

    def forward(self, x):
        x = Slow.apply(x, self.seconds)
        for module in self.inner:
            x = x + module(x)  # beside what goes past it
        return x


def test_the_innermost_part_counts_forward_and_backward():
    a, b = Waits(0.04), Waits(0.08)
    whole = Waits(0.02, a, b)
    profile, start = Profile(CPU), time.perf_counter()
    for module, part in ((whole, "whole"), (a, "a"), (b, "b")):
        profile._watch(module, part)
    x = torch.ones(3, requires_grad=True) * 1
    whole(x).sum().backward()
    profile.switch(REST)
    passed = time.perf_counter() - start
    found = {key: seconds for key, seconds in profile.seconds.items() if key[0] != REST}
    expected = {"whole": 0.02, "a": 0.04, "b": 0.08}
    for (part, backward), seconds in found.items():
        least = expected[part] * (2 if backward else 1)
        assert least <= seconds  # and no more than what the others leave
    assert len(found) == 6 and sum(profile.seconds.values()) == pytest.approx(passed, abs=1e-3)


def test_reading_here_or_waiting_for_readers():
    def slow():
        for number in range(3):
            time.sleep(0.02)
            yield number

    for workers, part in ((0, READING), (2, WAITING)):
        profile = Profile(CPU)
        assert list(profile.watch_reading(slow(), workers)) == [0, 1, 2]
        assert profile.seconds[part, False] >= 0.06 and profile._part == (REST, False)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    made = Stages(
        tmp_path_factory.mktemp("profile"), NETWORK.replace("model: {", "model: {group_adapter: {}, lora: {}, ")
    )
    for number, machine in enumerate(("fan", "fan", "pump", "pump")):
        write_clip(made.corpus / machine / f"train/{number}.wav", 0.6, seed=number)
    made.run(1, 2)
    return made


def test_stages_write_where_their_time_goes_and_give_the_same_bits(stages):
    folder = stages.exp / "seed0"
    weights = []
    for profile in ("false", "true"):
        train.main([*stages.lists, "--device", "cpu", "--profile", profile, "--force", "true"])
        content = torch.load(folder / "checkpoint/final.pt", weights_only=True)["model"]
        weights.append(torch.cat([value.flatten().float() for value in content.values()]))
        extract_embeddings.main([*stages.lists, "--device", "cpu", "--profile", profile, "--force", "true"])
        assert [path.name for path in folder.glob("profile*")] == [] or profile == "true"
    assert torch.equal(*weights)
    trained, embedded = (
        {row["part"]: row for row in read_table(folder / f"profile_{name}.tsv", COLUMNS)}
        for name in ("train", "embed_1")
    )
    both = {READING, ATTENTION, FEED_FORWARD, HEAD, REST, "front end", "group adapters", "rest of the blocks"}
    assert trained.keys() == both | {"rest of the encoder", LOSS, "optimiser"}
    assert embedded.keys() == both | {"rest of the encoder", "writing"}
    for part in (ATTENTION, FEED_FORWARD, HEAD, LOSS, "group adapters"):
        assert float(trained[part]["backward_s"]) > 0, part
    for table in (trained, embedded):
        assert sum(float(row["share"]) for row in table.values()) == pytest.approx(1, abs=0.02)
    assert all(float(row["backward_s"]) == 0 for row in embedded.values())
