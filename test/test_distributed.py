"""Training with two processes is training with one on the same batches."""

import shutil
import subprocess
import sys

import pytest
import torch
from recipe import CONFIG, environment, make_corpus
from test_pipeline import MINI

from asdkit.bin import make_lists, prepare_data, train
from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.distributed import World, join_world


def test_two_processes_give_the_weights_of_one(tmp_path):
    data, exp = tmp_path / "data", tmp_path / "exp/one"
    corpus = str(make_corpus(tmp_path / "mini"))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(data)])
    (tmp_path / "conf.yaml").write_text(CONFIG)
    # what differs between processes on CPUs is off: masks, dropped layers, memory banks, batch normalisation
    changes = [
        "train.specaugment=null",
        "loss.normalise=false",
        "loss.dlcl=null",
        "encoder.arch.encoder_layerdrop=0.0",
        "train.steps=4",
    ]
    sets = [word for change in changes for word in ("--set", change)]
    work = ["--data", str(data), "--dump", str(tmp_path / "dump")]
    make_lists.main(["--config", str(tmp_path / "conf.yaml"), *sets, *work, "--exp", str(exp)])
    shutil.copytree(exp, tmp_path / "exp/two")
    train.main([*work, "--exp", str(exp), "--device", "cpu"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "asdkit.bin.train", *work, "--exp", str(tmp_path / "exp/two"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(OMP_NUM_THREADS="1"), timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (read_checkpoint(tmp_path / f"exp/{name}/seed0/checkpoint/final.pt") for name in ("one", "two"))
    assert one["step"] == two["step"] == 4
    for key, tensor in one["model"].items():
        if key.endswith("k_proj.bias"):
            continue  # its gradient is nothing but rounding, which Adam scales up
        torch.testing.assert_close(two["model"][key], tensor, rtol=1e-3, atol=1e-4, msg=key)


def test_shares_cover_the_batch():
    worlds = [World(rank, 3, torch.device("cpu")) for rank in range(3)]
    assert sorted(item for world in worlds for item in world.share(list(range(8)))) == list(range(8))
    with pytest.raises(ValueError, match="train.batch_size 2 is smaller than the number of processes, 3"):
        worlds[0].share([1, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="no GPU is visible"):
        join_world("cuda")
