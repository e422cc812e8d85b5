"""egs/mini/ablation.sh: every experiment of conf, three seeds."""

import re
import subprocess

from shell_helpers import ROOT

MINI = ROOT / "egs/mini"


def test_ablation_runs_every_experiment_with_three_seeds():
    done = subprocess.run([MINI / "ablation.sh", "--dry-run"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    trained = re.findall(r"JOB=0\\,1\\,2 exp/(\w+)/log/3\.train\S+ python3 -m asdkit\.bin\.train ", done.stdout)
    experiments = {path.stem for path in (MINI / "conf").glob("*.yaml")} - {"dataset"}
    assert len(trained) == len(experiments) and set(trained) == experiments


def test_each_part_adds_to_the_one_before():
    from asdkit.config import load_config

    experiments = {
        name: load_config(MINI / f"conf/{name}.yaml") for name in ("lora", "fc_lora", "group_adapter", "default")
    }
    # What is kept of a training, and how it is embedded, is no part of the method.
    lora, connected, adapter, whole = (
        config.model_dump(include={"encoder", "data", "model", "loss", "train"}) for config in experiments.values()
    )
    for config in (lora, connected, adapter, whole):
        del config["train"]["save_steps"]
    assert lora["model"]["lora"].pop("branches") == 1
    assert connected["model"]["lora"].pop("branches") == 8
    assert lora == connected
    connected["model"]["lora"]["branches"] = 8
    connected["model"]["group_adapter"] = adapter["model"]["group_adapter"]
    assert connected == adapter
    adapter["loss"]["dlcl"] = whole["loss"]["dlcl"]
    assert adapter == whole
