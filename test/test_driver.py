"""utils/asd.sh, with a python3 that only writes down how it was called."""

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from recipe import environment
from shell_helpers import ROOT, Checkout, fake_slurm, interrupt, running, wait_until, write_script

RECIPES = [path for path in sorted((ROOT / "egs").glob("*/run.sh")) if "utils/asd.sh" in path.read_text()]
GOLDEN = Path(__file__).parent / "golden" / "dry_run_mini.txt"
STAGES = {
    0: [],
    1: ["prepare_data"],
    2: ["make_lists"],
    3: ["train"],
    4: ["extract_embeddings"] * 3,
    5: ["score"],
    6: ["report"],
}


@pytest.fixture
def mini(tmp_path):
    checkout = Checkout(tmp_path)
    write_script(checkout.recipe / "local" / "data.sh", '#!/bin/sh\nmkdir -p "$1" && touch "$1/made"\n')
    return checkout


def last_lines(checkout: Checkout) -> list[str]:
    return [path.read_text().splitlines()[-1] for path in checkout.recipe.rglob("*.log")]


@pytest.mark.parametrize(("first", "last"), [(0, 6), (1, 1), (1, 2), (2, 4), (3, 3), (5, 6)])
def test_stage_range_runs_its_programs(mini, first, last):
    done = mini.run("--stage", str(first), "--stop-stage", str(last))
    assert (done.returncode, done.stderr) == (0, "")
    checked = ["configure"] if last >= 2 else []
    assert mini.programs() == checked + [name for stage in range(first, last + 1) for name in STAGES[stage]]
    heads = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("== stage")]
    assert [head.split()[2] for head in heads] == [str(stage) for stage in range(first, last + 1)]
    assert (mini.recipe / "downloads/mini/made").exists() == (first == 0)
    assert ("== results: exp/default/RESULTS.md" in done.stdout) == (last == 6)
    assert ("fan 12 clips" in done.stdout) == (first <= 1), "stage 1 shows what it found"
    assert all(line.startswith("# ended code 0") for line in last_lines(mini))


def test_features_are_dumped_where_the_experiment_says_so(mini):
    mini.write_config("data:\n  feats_type: fbank\n")
    assert mini.run("--stage", "2", "--stop-stage", "2", "--nj", "3").returncode == 0
    assert mini.programs() == ["configure", "make_lists", *["extract_feats"] * 4]
    assert mini.calls()[-1][-4:] == ["--num-jobs", "3", "--merge", "true"]
    mini.write_config("data:\n  feats_type: raw\n")
    mini.run("--stage", "2", "--stop-stage", "2")
    assert mini.programs()[6:] == ["configure", "make_lists"]


def test_the_table_of_stage_1_is_that_of_the_latest_run(mini):
    for clips in ("fan 12 clips", "fan 13 clips"):
        done = mini.run("--stage", "1", "--stop-stage", "1", SAY=clips)
        assert [line for line in done.stdout.splitlines() if "clips" in line] == [clips]
    assert "fan 12 clips" in (mini.recipe / "data/log/1.prepare_data.log").read_text()


def test_recipe_begins_with_stage_0(mini):
    assert mini.run("--stop-stage", "1").returncode == 0
    assert (mini.recipe / "downloads/mini/made").exists()


@pytest.mark.parametrize(("folder", "stages"), [("data", "1 1"), ("exp/default", "2 3"), ("exp/default", "5 5")])
def test_runs_with_one_folder_wait_for_each_other(mini, folder, stages):
    lock = mini.recipe / folder / ".lock"
    lock.parent.mkdir(parents=True)
    other = subprocess.Popen(["flock", lock, "sh", "-c", 'echo locked; sleep 1; touch "$0.other"', lock],
                             stdout=subprocess.PIPE)  # fmt: skip
    assert other.stdout.readline() == b"locked\n"
    first, last = stages.split()
    done = mini.run("--stage", first, "--stop-stage", last, AFTER=f"{lock}.other" if first == "5" else "/")
    assert done.returncode == 0, "from stage 3 on the experiment is opened under its lock"
    assert done.stdout.startswith(f"== waiting for another run with {folder}, or a job that a killed one left")
    assert lock.with_name(".lock.other").exists()


@pytest.mark.parametrize(
    ("stages", "check"),
    [("0 6", ""), ("2 2", ""), ("5 5", "--must-exist true")],
)
def test_the_experiment_is_checked_before_the_first_stage(mini, stages, check):
    first, last = stages.split()
    mini.run("--stage", first, "--stop-stage", last, "--set", "score.k=2", "--tag", "x", "--force")
    assert mini.calls()[0] == shlex.split(
        f"-m asdkit.bin.configure --config conf/default.yaml --set score.k=2 --exp exp/x {check} --force true"
    )
    assert mini.programs().count("configure") == 1


def test_stages_that_use_no_configuration_do_not_check_it(mini):
    mini.run("--stage", "0", "--stop-stage", "1", "--set", "no.key=1")
    assert mini.programs() == ["prepare_data"]


def test_the_dataset_is_given_to_stage_1_alone(mini):
    mini.run("--dataset", "other.yaml")
    assert ["other.yaml" in call for call in mini.calls()] == ["prepare_data" in call[1] for call in mini.calls()]


def test_arguments_arrive_whole(mini, tmp_path):
    corpus, value = str(tmp_path / "my $corpus's clips"), "data.sets=[dev_train, eval train]"
    done = mini.run(
        *("--stage", "1", "--stop-stage", "2", "--corpus", corpus, "--machines", "fan,toy car", "--channel", "0"),
        *("--resample", "true", "--revealed-attributes", "told later", "--set", value, "--set", "a=b"),
        *("--tag", "x", "--dump", "my dump", "--force"),
    )
    assert done.returncode == 0, done.stderr
    _, prepare, lists = mini.calls()[:3]
    assert prepare[2:] == (
        ["--dataset", "conf/dataset.yaml", "--corpus", corpus, "--data", "data"]
        + ["--machines", "fan,toy car", "--channel", "0", "--resample", "true"]
        + ["--revealed-attributes", "told later", "--force", "true"]
    )
    assert lists[2:] == (
        ["--config", "conf/default.yaml", "--set", value, "--set", "a=b"]
        + ["--data", "data", "--dump", "my dump", "--exp", "exp/x", "--force", "true"]
    )


def test_seeds_and_shards(mini):
    done = mini.run("--stage", "3", "--seeds", "4 10", "--nj", "3")
    assert done.returncode == 0, done.stderr
    seen = [(call[1].split(".")[-1], call[call.index("--seed") + 1]) for call in mini.calls() if "--seed" in call]
    assert sorted(seen) == sorted(
        [(name, seed) for seed in ("4", "10") for name in ("train", "score", *["extract_embeddings"] * 4)]
    )
    shards = [tuple(call[-4:]) for call in mini.calls() if "extract_embeddings" in call[1] and "--job" in call]
    assert sorted(shards) == sorted([("--num-jobs", "3", "--job", str(job)) for job in (1, 2, 3)] * 2)
    logs = {path.name for path in (mini.recipe / "exp/default/log").iterdir()}
    assert {"3.train.seed4.log", "4.extract_embeddings.seed10.3.log", "4.extract_embeddings.seed10.merge.log"} <= logs


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        ([], "default"),
        (["--config", "conf/big one.v2.yaml", "--tag", "x-1"], "x-1"),
        (["--config", "conf/frozen.yaml"], "frozen"),
        (["--data", "/JOBS/data", "--tag", "MYJOB"], "MYJOB"),
        (["--set", "train.lr=3e-5", "--set", "data.sets=[a, b]"], "default_train.lr_3e-5_data.sets__a__b_"),
        (["--set", "score.knn.k=3", "--set", "score={knn: {k: 2}}", "--set", "data.workers=4"], "default"),
        (["--set", "train.log_every=5", "--set", "train.steps=9"], "default_train.steps_9"),
        (["--set", "scores=1", "--set", "data.workers2=1"], "default_scores_1_data.workers2_1"),
    ],
)
def test_tag(mini, options, tag):
    done = mini.run("--dry-run", "--stage", "6", *options)
    assert done.stdout.splitlines()[-1].endswith(f" --exp exp/{tag}")


def test_the_tag_leaves_out_what_the_configuration_declares_to_change_no_result():
    from asdkit.config import Config

    def declared(model, path=""):
        for name, field in model.model_fields.items():
            if (field.json_schema_extra or {}).get("changes_result") is False:
                yield f"{path}{name}"
            section = field.default if field.default_factory is None else field.default_factory()
            if hasattr(type(section), "model_fields"):
                yield from declared(type(section), f"{path}{name}.")

    (names,) = re.findall(r"^untagged=\(([^)]*)\)$", (ROOT / "utils/asd.sh").read_text(), re.MULTILINE)
    assert set(names.split()) == {"score", *declared(Config)}


@pytest.mark.parametrize("options", [[], ["--score", "knn,gmm"]])
def test_scores_by_name(mini, options):
    mini.run("--stage", "5", *options, "--force")
    score, report = mini.calls()[1:]
    assert score[2:] == ["--data", "data", "--exp", "exp/default", "--seed", "0", *options, "--force", "true"]
    assert report[2:] == ["--data", "data", "--exp", "exp/default", *options, "--force", "true"]


def test_published_figures_are_given_to_the_report(mini):
    (mini.recipe / "conf").mkdir()
    (mini.recipe / "conf/published.yaml").touch()
    mini.run("--stage", "6")
    assert mini.calls()[-1][-2:] == ["--published", "conf/published.yaml"]


def test_dry_run_prints_the_commands_and_runs_nothing(mini):
    before = sorted(mini.root.rglob("*"))
    done = mini.run("--dry-run", "true", "--seeds", "0 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == GOLDEN.read_text()
    assert mini.calls() == [] and sorted(mini.root.rglob("*")) == before


def test_dry_run_is_what_is_run(mini):
    printed = [shlex.split(line) for line in mini.run("--dry-run").stdout.splitlines() if not line.startswith("#")]
    mini.write_config("data:\n  feats_type: fbank\nembed:\n  precision: auto\n")
    mini.run()
    expected = []
    for words in printed:
        jobs = {"JOB=1:2": "12", "JOB=0": "0"}.get(next((word for word in words if word.startswith("JOB=")), ""), " ")
        words = words[next(i for i, word in enumerate(words) if word in ("python3", "local/data.sh")) :]
        expected += [[word.replace("JOB", job) for word in words[1:]] for job in jobs if words[0] == "python3"]
    assert len(printed) == 12 and sorted(mini.calls()) == sorted(expected)
    later = mini.run("--dry-run", "--stage", "3", "--stop-stage", "3").stdout.splitlines()
    assert shlex.split(later[1])[1:] == shlex.split(
        "-m asdkit.bin.configure --config conf/default.yaml --exp exp/default --must-exist true"
    )


def test_several_gpus_train_under_torchrun(mini):
    lines = mini.run("--dry-run", "--stage", "3", "--stop-stage", "4", "--gpu", "2").stdout.splitlines()
    train = next(line for line in lines if "asdkit.bin.train" in line)
    assert "--gpu 2" in train and "--device cuda" in train
    assert "torch.distributed.run --standalone --nproc-per-node 2 -m asdkit.bin.train" in train
    embed = next(line for line in lines if "extract_embeddings" in line and "--job JOB" in line)
    assert "--gpu 1" in embed and "--device cuda" in embed and "python3 -m asdkit.bin.extract_embeddings" in embed


def test_several_nodes_train_and_their_gpus_embed(mini):
    lines = mini.run("--dry-run", "--stage", "3", "--stop-stage", "4", "--gpu", "4", "--nodes", "2").stdout.splitlines()
    train = next(line for line in lines if "asdkit.bin.train" in line)
    assert "--gpu 4 --nodes 2 JOB=" in train and "run --nnodes 2 --nproc-per-node 4 -m asdkit.bin.train" in train
    embed = next(line for line in lines if "extract_embeddings" in line and "--job JOB" in line)
    assert "--gpu 1 JOB=1:4 " in embed and "--nodes" not in embed, "a shard for each GPU of a node"


def test_cmd_is_split_into_words_and_wins(mini):
    line = mini.run("--dry-run", "--cmd", "run_slurm.sh --partition main", "--num-threads", "4").stdout.splitlines()
    sent = [text for text in line if ".log" in text]
    assert sent and all(
        text.startswith(f"../../utils/run_slurm.sh {'--num-threads 4 ' * ('--num-threads' in text)}--partition main ")
        for text in sent
    )
    train = next(text for text in line if "bin.train" in text)
    assert train.startswith("../../utils/run_slurm.sh --num-threads 4 --partition main JOB=0 exp/")
    local = mini.run("--dry-run", "--stage", "3", "--cmd", "run_local.sh --max-jobs-run 2", "--seeds", "0 1").stdout
    assert "run_local.sh --max-jobs-run 1 --max-jobs-run 2 JOB=" in local


def test_quotes_in_cmd_hold_blanks(mini, tmp_path):
    write_script(tmp_path / "bin" / "my cmd", f'#!/bin/sh\nprintf "%s|" "$@" >>{tmp_path}/seen\n')
    done = mini.run("--stage", "6", "--cmd", "'my cmd' --a='b c' \"it's\" d\\ e")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().startswith("--a=b c|it's|d e|exp/default/log/6.report.log|")
    for cmd in ("'my cmd", 'my "cmd'):
        done = mini.run("--stage", "6", "--cmd", cmd)
        assert done.returncode == 1 and f"a quote is not closed: {cmd}" in done.stderr


def test_an_option_with_one_dash_is_not_taken_for_a_log(mini, tmp_path):
    mini.env |= fake_slurm(tmp_path)
    done = mini.run("--stage", "6", "--cmd", "run_slurm.sh -p main")
    assert done.returncode == 1 and "run_slurm.sh: options have two dashes, not '-p'; --help lists" in done.stderr
    assert not [path for path in mini.recipe.rglob("-p*")] and not list((tmp_path / "queue").iterdir())


def test_cmd_of_ones_own(mini, tmp_path):
    write_script(tmp_path / "bin" / "my_cmd", f'#!/bin/sh\necho "$*" >>{tmp_path}/seen\n')
    done = mini.run("--stage", "6", "--cmd", "my_cmd $(touch made) --fast")
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "seen").read_text().splitlines()[0]
    assert first.startswith("$(touch made) --fast exp/default/log/6.report.log python3 -m asdkit.bin.report")


@pytest.mark.parametrize(
    ("fail_at", "stage", "log", "not_run"),
    [
        ("prepare_data", "stage 1 (data)", "data/log/1.prepare_data.log", "make_lists"),
        ("make_lists", "stage 2 (lists)", "exp/default/log/2.make_lists.log", "train"),
        ("train", "stage 3 (train)", "exp/default/log/3.train.seed0.log", "extract_embeddings"),
        ("--job 2", "stage 4 (embed)", "exp/default/log/4.extract_embeddings.seed0.2.log", "score"),
        ("score", "stage 5 (score)", "exp/default/log/5.score.seed0.log", "report"),
    ],
)
def test_failure_names_stage_and_log_and_shows_its_end(mini, fail_at, stage, log, not_run):
    done = mini.run(FAIL_AT=fail_at)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(f"asd.sh: {stage} failed")
    assert f"failed:\n  {log}\n" in done.stderr
    assert "    error: made up\n    # ended code 3, " in done.stderr
    assert not_run not in mini.programs()


@pytest.mark.parametrize("stage", ["0", "4"])
def test_failure_of_the_check_leaves_nothing_behind(mini, stage):
    before = sorted(mini.root.rglob("*"))
    done = mini.run("--stage", stage, FAIL_AT="bin.configure")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: made up\nasd.sh: no stage was run\n"
    assert mini.programs() == ["configure"] and sorted(mini.root.rglob("*")) == before


def test_stage_0_that_fails(mini):
    write_script(mini.recipe / "local" / "data.sh", "#!/bin/sh\necho no network\nexit 4\n")
    done = mini.run()
    assert done.returncode == 1
    assert "data/log/0.data.log" in done.stderr and "no network" in done.stderr and mini.programs() == ["configure"]


def test_stage_0_fetches_what_the_recipe_names(tmp_path):
    year = Checkout(tmp_path, "dcase2024")
    (year.recipe / "conf").mkdir()
    (year.recipe / "conf/download.yaml").write_text("")
    options = ["--stage", "0", "--stop-stage", "0", "--corpus", "my clips", "--dataset", "d.yaml"]
    done = year.run(*options, "--machines", "fan,pump", "--force")
    assert done.returncode == 0, done.stderr
    assert year.calls() == [
        ["-m", "asdkit.bin.download", "--download", "conf/download.yaml", "--dataset", "d.yaml", "--out", "my clips"]
        + ["--machines", "fan,pump", "--force", "true"]
    ]
    write_script(year.recipe / "local/data.sh", "#!/bin/sh\nexit 4\n")  # a recipe's own way goes first
    assert year.run(*options).returncode == 1 and len(year.calls()) == 1


def test_recipe_without_stage_0_says_so(tmp_path):
    done = Checkout(tmp_path, "custom").run("--stage", "0")
    assert done.returncode == 1
    assert "no stage 0" in done.stderr and "--stage 1" in done.stderr and "--corpus" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "7"], "--stage is a number from 0 to 6, not '7'"),
        (["--stage", "4", "--stop-stage", "3"], "--stage 4 comes after --stop-stage 3"),
        (["--nj", "0"], "--nj is a number from 1, not '0'"),
        (["--gpu", "one"], "--gpu is a number from 0, not 'one'"),
        (["--seeds", "0,1"], "--seeds is a list of numbers"),
        (["--seeds="], "--seeds is a list of numbers"),
        (["--seeds", "00"], "--seeds is a list of numbers"),
        (["--seeds", "0 1 0"], "--seeds '0 1 0': a seed occurs twice"),
        (["--tag", "a/b"], "--tag 'a/b' has to be a folder's name"),
        (["--expdir", "/x/SLURM_JOB_1/exp"], "the word JOB stands for a job's number"),
        (["--dump", "JOB"], "the word JOB stands for a job's number"),
        (["--cmd", "no_such.sh"], "--cmd 'no_such.sh': no such program"),
        (["--cmd="], "--cmd '': no such program"),
        (["--force", "yes"], "--force is true or false, not 'yes'"),
        (["--seed", "1"], "unknown option --seed. Did you mean --seeds?"),
        (["now"], "unexpected word 'now'"),
    ],
)
def test_wrong_options_are_refused(mini, options, message):
    done = mini.run(*options)
    assert done.returncode == 1 and message in done.stderr and mini.calls() == []


def test_help_shows_the_recipes_own_defaults(mini):
    done = mini.run("--help")
    assert done.returncode == 0 and mini.calls() == []
    assert (
        "--stage 0 " in done.stdout and "--corpus downloads/mini " in done.stdout and "--stop-stage 6 " in done.stdout
    )


def test_python_without_torch_is_told_what_to_do(mini):
    done = mini.run(NO_TORCH="1")
    assert done.returncode == 1 and "run 'make env' in" in done.stderr and mini.calls() == []


def test_environment_of_the_checkout_comes_first(mini):
    fake = (mini.calls_file.parent / "bin" / "python3").read_text()
    write_script(mini.root / ".venv/bin/python3", fake.replace("printf '%s\\n'", "printf 'venv|%s\\n'"))
    mini.run("--stage", "1", "--stop-stage", "1")
    assert mini.calls()[0][0] == "venv"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_everything(mini, tmp_path, number):
    marker = f"driver-{tmp_path}"
    returned, stderr = interrupt(
        [mini.recipe / "run.sh", "--stage", "1"],
        lambda: "train" in mini.programs(),
        number,
        env=mini.env | {"SLEEP_AT": "bin.train", "MARKER": marker},
    )
    assert returned == 128 + number and "asd.sh: stopped" in stderr
    assert wait_until(lambda: not running(marker)), "jobs go on"


def test_driver_and_recipes_stay_short():
    assert len((ROOT / "utils/asd.sh").read_text().splitlines()) <= 200
    assert {"mini", "custom"} <= {script.parent.name for script in RECIPES}
    for script in RECIPES:
        lines = script.read_text().splitlines()
        assert len(lines) <= 15 and lines[-1].endswith('"$@"'), script


@pytest.mark.parametrize("script", RECIPES, ids=lambda path: path.parent.name)
def test_every_recipe_has_a_dry_run(script):
    words = ["--years", "2022 2023"] if script.parent.name == "dcase_all" else []
    done = subprocess.run(["sh", script, "--dry-run", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "# stage " in done.stdout and "asdkit.bin." in done.stdout


@pytest.mark.parametrize("shell", ["sh", "bash --posix"])
def test_pretraining_starts_under_any_shell(shell):
    script = ROOT / "egs/pretrain/run.sh"
    done = subprocess.run([*shell.split(), script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--probe-clips" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("egs/dcase_all/run.sh", ["--years", "2022 2023", "--stage", "3", "--stop-stage", "3", "--dry-run"]),
        ("egs/pretrain/run.sh", ["--stage", "2", "--stop-stage", "2", "--cmd", "echo"]),
    ],
    ids=["dcase_all", "pretrain"],
)
def test_other_drivers_train_on_several_nodes(tmp_path, script, words):
    command = ["bash", ROOT / script, *words, "--gpu", "2", "--nodes", "3", "--expdir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    assert "--gpu 2 --nodes 3 " in done.stdout and "--nnodes 3 --nproc-per-node 2 -m asdkit.bin." in done.stdout
    done = subprocess.run([*command, "--nodes", "0"], capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 1 and "--nodes is a number from 1, not '0'" in done.stderr


def test_a_clone_with_the_line_ends_of_windows_runs(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "utils", source / "utils")
    shutil.copy(ROOT / ".gitattributes", source)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(source)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True, timeout=20)
    clone = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "-q", source, tmp_path / "clone"]
    subprocess.run(clone, check=True, timeout=20)
    done = subprocess.run([tmp_path / "clone/utils/asd.sh", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "--stop-stage" in done.stdout, done.stderr
