"""Parts of a training that have tests of their own, at once: killed and resumed, to the same bits."""

import pytest
import torch
from recipe import CONFIG, make_corpus
from test_distributed import killed
from test_pipeline import MINI

from asdkit.bin import extract_embeddings, make_lists, prepare_data, train
from asdkit.models.checkpoint import read_checkpoint

SETTINGS = (
    "train.steps=8", "train.batch_size=6", "train.warmup_steps=2", "train.checkpoint_every=3", "train.accumulate=2",
    "train.save_steps=[4, 6]", "train.ema=0.7", "train.mixup={}", "train.noise={}", "train.gain={}",
    "train.rates={lora: 2.0, decay: 0.9}", "train.pseudo_labels={steps: [0, 5], most: 3}", "loss.dlcl=null",
    "loss.exchange={kind: featex}", "loss.centre={}", "encoder.layers=concatenated", "model.layers_dim=6",
    "data.held_out={fraction: 0.5}", "data.balance=class", "embed.checkpoint=best",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trains an experiment of this name; returns its folder of seed 0."""
    root = tmp_path_factory.mktemp("combined")
    corpus = str(make_corpus(root / "mini"))
    work = ["--data", str(root / "data"), "--dump", str(root / "dump")]
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, *work[:2]])
    (root / "conf.yaml").write_text(CONFIG)

    def trained(name, until=None):
        exp = ["--exp", str(root / name)]
        if not (root / name).exists():
            sets = [word for setting in SETTINGS for word in ("--set", setting)]
            make_lists.main(["--config", str(root / "conf.yaml"), *sets, *work, *exp])
        command = [*work, *exp, "--device", "cpu"]
        if until:
            killed(lambda: train.main(command), until)
        else:
            train.main(command)
        return root / name / "seed0"

    trained.work, trained.whole = work, trained("whole")
    return trained


@pytest.mark.parametrize("step", [3, 5, 7])
def test_everything_at_once_goes_on_to_the_same_bits(run, step):
    """Killed after a checkpoint, a measure and a round of labels; at the last step that is no checkpoint."""
    whole = run.whole
    run(f"killed{step}", step)
    again = run(f"killed{step}")
    for name in ("train.tsv", "pseudo_auc.tsv", "pseudo_labels/step0.tsv", "pseudo_labels/step5.tsv"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("final", "best", "step4", "step6"):
        ours, theirs = (read_checkpoint(folder / f"checkpoint/{name}.pt") for folder in (again, whole))
        assert ours["step"] == theirs["step"]
        for part in ("model", "objective"):
            assert ours[part].keys() == theirs[part].keys()
            assert all(torch.equal(ours[part][key], tensor) for key, tensor in theirs[part].items()), (name, part)


def test_what_was_trained_so_is_embedded(run):
    whole = run.whole
    shard = ["--seed", "0", "--num-jobs", "1"]
    for last in (["--job", "1"], ["--merge", "true"]):
        extract_embeddings.main([*run.work, "--exp", str(whole.parent), *shard, *last])
    assert len(list(whole.glob("embed/*/embedding.scp"))) >= 2
