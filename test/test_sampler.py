from collections import Counter

import numpy as np
import pytest

from asdkit.data.lists import Clip
from asdkit.data.sampler import ChunkSampler


def clips(count, samples=48000):
    """Clips of machine a (90 %) and b, classes 0 to 2; every third is of another length."""
    return [
        Clip(f"u{i}", "", samples + 1000 * (i % 3), "b" if i % 10 == 0 else "a", label=i % 3, attributed=True)
        for i in range(count)
    ]


@pytest.mark.parametrize("batch_size", [4, 7, 32, 100])
def test_every_clip_once_per_epoch_across_batches(batch_size):
    total = 30
    sampler = ChunkSampler(clips(total), 32000, 160, batch_size, seed=1)
    drawn = [index for step in range(1, 3 * total + 1) for index, _ in sampler.batch(step)]
    epochs = [drawn[i : i + total] for i in range(0, len(drawn) - total + 1, total)]
    assert len(epochs) >= 3 * batch_size - 1
    assert all(sorted(epoch) == list(range(total)) for epoch in epochs)
    assert epochs[0] != epochs[1] and epochs[0] != list(range(total))


@pytest.mark.parametrize("balance", ["none", "machine", "class"])
def test_a_batch_depends_on_seed_and_step_alone(balance):
    def sampler(seed):
        return ChunkSampler(clips(50), 32000, 160, 16, balance, seed)

    run = sampler(3)
    in_order = [run.batch(step) for step in range(1, 21)]
    assert [sampler(3).batch(step) for step in range(1, 21)] == in_order
    assert [run.batch(step) for step in (20, 4, 11)] == [in_order[19], in_order[3], in_order[10]]
    assert [index for index, _ in sampler(4).batch(1)] != [index for index, _ in in_order[0]]
    assert len({tuple(batch) for batch in in_order}) == 20


def test_starts_are_multiples_of_the_hop_and_reach_the_whole_clip():
    sampler = ChunkSampler(clips(3, 33000), 32000, 160, 64)
    starts = {}
    for step in range(1, 200):
        for index, start in sampler.batch(step):
            starts.setdefault(index, set()).add(start)
    for index, found in starts.items():
        assert found == set(range(0, 1000 * (1 + index % 3) + 1, 160))


def test_clips_not_longer_than_the_chunk_start_at_zero():
    for samples in (1, 31999, 32000, 32159):
        sampler = ChunkSampler([Clip("u", "", samples, "a")], 32000, 160, 4)
        assert sampler.batch(1) == [(0, 0)] * 4


@pytest.mark.parametrize("balance", ["machine", "class"])
def test_groups_then_clips_are_drawn_uniformly(balance):
    everything = clips(60)
    sampler = ChunkSampler(everything, 32000, 160, 64, balance, seed=5)
    drawn = [everything[index] for step in range(1, 401) for index, _ in sampler.batch(step)]
    groups = Counter(clip.machine if balance == "machine" else clip.label for clip in drawn)
    expected = len(drawn) / len(groups)
    assert len(groups) == (2 if balance == "machine" else 3)
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in groups.values())
    rare = Counter(clip.utt for clip in drawn if clip.machine == "b")
    mean = sum(rare.values()) / 6
    assert len(rare) == 6 and all(abs(count - mean) < 5 * np.sqrt(mean) for count in rare.values())


@pytest.mark.parametrize(("temperature", "odds"), [(1.0, 0.9), (2.0, 0.75), (1e9, 0.5)])
def test_the_temperature_is_between_all_alike_and_as_they_are(temperature, odds):
    """90 clips of a and 10 of b: 9:1, 3:1 by square roots, 1:1."""
    everything = clips(100)
    sampler = ChunkSampler(everything, 32000, 160, 50, "machine", seed=5, temperature=temperature)
    drawn = Counter(everything[index].machine for step in range(1, 201) for index, _ in sampler.batch(step))
    assert drawn["a"] / 10_000 == pytest.approx(odds, abs=0.02)
    again = ChunkSampler(everything, 32000, 160, 50, "machine", seed=5, temperature=temperature)
    assert again.batch(7) == sampler.batch(7) != sampler.batch(8)


def test_without_balance_machines_come_as_often_as_they_are():
    everything = clips(60)
    sampler = ChunkSampler(everything, 32000, 160, 60, seed=5)
    drawn = Counter(everything[index].machine for step in range(1, 11) for index, _ in sampler.batch(step))
    assert drawn == {"a": 540, "b": 60}


def test_late_steps_are_as_quick_as_early_ones():
    sampler = ChunkSampler(clips(1000), 32000, 160, 32)
    assert len(sampler.batch(10**9)) == 32


def test_no_clips():
    with pytest.raises(ValueError, match="no training clips"):
        ChunkSampler([], 32000, 160, 4)
