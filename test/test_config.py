import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from corpora import ROOT, prepare, program, snapshot, write_corpus

import asdkit
from asdkit.bin import configure, make_lists, train
from asdkit.config import BeatsEncoder, Config, LogmelEncoder, load_config
from asdkit.corpus.description import load_description
from asdkit.fetch.records import load_plan
from asdkit.pretrain.config import PretrainConfig, load_pretrain_config
from asdkit.report.published import load_published
from asdkit.utils.typed_yaml import Section, dump_yaml, parse_yaml


def load(tmp_path, text, *overrides):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return load_config(path, list(overrides))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {lr: 1}", "x.yaml: unknown key 'trian'. Did you mean 'train'?"),
        ("train: {learning_rate: 1}", "x.yaml: unknown key 'train.learning_rate'."),
        ("model: {lora: {rnak: 4}}", "x.yaml: unknown key 'model.lora.rnak'. Did you mean 'rank'?"),
        ("encoder: {arch: {encoder_attention_heads: 5}}", "768 is no multiple of encoder_attention_heads"),
        ("encoder: {arch: {layers: 4}}", "x.yaml: unknown key 'encoder.arch.layers'."),
        ("encoder: {name: beatz}", "^\\S*x.yaml: encoder.name: there is no 'beatz'. Allowed: beats, logmel"),
        ("encoder: {name: [logmel]}", r"x.yaml: encoder.name: there is no \['logmel'\]"),
        ("encoder: 3", "^\\S*x.yaml: encoder: expected 'key: value' lines, got 3$"),
        ("encoder: {archh: {}}", "^\\S*x.yaml: unknown key 'encoder.archh'. Did you mean 'arch'?"),
        (
            "encoder: {name: logmel, arch: {}}",
            "^\\S*x.yaml: unknown key 'encoder.arch'. Allowed: name, checkpoint, train, layers, frozen_layers, "
            "sample_rate, low, high, bands, scale$",
        ),
        ("encoder: {name: logmel, train: true}", "x.yaml: encoder: 'logmel' has no weights"),
        ("encoder: {name: logmel}\nmodel: {lora: {}}", "'logmel' has no transformer blocks"),
        ("encoder: {layers: 0}", "x.yaml: encoder.layers: got 0; blocks are counted from 1"),
        ("encoder: {layers: [1, 0]}", r"x.yaml: encoder.layers: got \[1, 0\]; blocks are counted from 1"),
        ("encoder: {layers: []}", r"x.yaml: encoder.layers: got \[\]; blocks are counted from 1"),
        ("encoder: {layers: last}", "x.yaml: encoder.layers: .*integer, got 'last'"),
        ("encoder: {layers: [1, last]}", "x.yaml: encoder.layers.1: .*integer.*, got 'last'"),
        ("model: {lora: {targets: [q_prok]}}", "'beats' has no 'q_prok'. Allowed: q_proj, k_proj, v_proj, out_proj"),
        ("train: {lr: fast}", "x.yaml: train.lr: .*number, got 'fast'"),
        ("train: {steps: 1.5}", "x.yaml: train.steps: .*integer.*got 1.5"),
        ("train: {steps: '600'}", "x.yaml: train.steps: .*got '600'"),
        ("train: {steps: true}", "x.yaml: train.steps: .*got True"),
        ("train: {batch_size: 0}", "x.yaml: train.batch_size: .*got 0"),
        ("train: {grad_clip: 0.0}", "x.yaml: train.grad_clip: .*greater than 0, got 0.0"),
        ("model: {embedding_dim: 0}", "x.yaml: model.embedding_dim: .*got 0"),
        ("embed: {segment: chunk, hop_seconds: 0.004}", "x.yaml: embed.hop_seconds: .*got 0.004"),
        ("data: {sets: [dev_train, evl_train]}", "x.yaml: data.sets.1: .*'dev_train' or 'eval_train', got 'evl_train'"),
        ("data: {sets: [dev_test]}", "x.yaml: data.sets.0: .*got 'dev_test'"),
        ("data: {label: sections}", "x.yaml: data.*'sections': must be one or more of year, machine, .*each once"),
        ("train: 3", "x.yaml: train: "),
        ("train: {lr: 1}\ntrain: {lr: 2}", "x.yaml: .*'train' occurs twice"),
        ("train: {lr: 1, lr: 2}", "x.yaml: .*'lr' occurs twice"),
        ("train: {lr: [}", "x.yaml: "),
        ("- train", "x.yaml: expected 'key: value' lines"),
        ("loss: {dlcl: {}}\ndata: {label: machine}", "loss.dlcl needs attributes"),
        ("train: {steps: 10, save_steps: [11]}", "save_steps"),
        ("encoder: !!python/object/apply:os.getcwd []", "x.yaml: "),
    ],
)
def test_mistakes_are_explained(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)


def test_aliases_are_refused_before_they_grow(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdef", "bcdefg", strict=True)]
    with pytest.raises(ValueError, match=r"x.yaml: alias \*a: aliases are not allowed.*line 2") as error:
        load(tmp_path, "\n".join(lines))
    assert len(str(error.value)) < 300


def test_a_long_wrong_value_is_cut(tmp_path):
    with pytest.raises(ValueError, match=r"train.steps: .*\.\.\. \(5002 characters\)") as error:
        load(tmp_path, f"train:\n  steps: {'x' * 5000}\n")
    assert len(str(error.value)) < 400


def test_a_file_that_cannot_be_read_is_named_once(tmp_path):
    with pytest.raises(ValueError, match=r"^cannot read \S*none\.yaml: No such file or directory$"):
        load_config(tmp_path / "none.yaml", ["train.lr=1"])
    (tmp_path / "x.yaml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"cannot read .*x\.yaml: .*utf-8"):
        load_config(tmp_path / "x.yaml")


def test_only_differences_are_given(tmp_path):
    assert load(tmp_path, "") == Config()
    config = load(tmp_path, "train: {lr: 3e-5}\nmodel: {lora: {rank: 4}}")
    assert config.train.lr == 3e-5 and config.model.lora.rank == 4 and config.model.lora.branches == 8
    assert config.train.steps == Config().train.steps


def test_each_encoder_has_its_own_section(tmp_path):
    beats, logmel = load(tmp_path, "encoder: {train: true}"), load(tmp_path, "encoder: {name: logmel}")
    assert (type(beats.encoder), beats.encoder.name, beats.encoder.train) == (BeatsEncoder, "beats", True)
    assert logmel.encoder == LogmelEncoder() and "arch" not in dump_yaml(logmel)
    assert load(tmp_path, dump_yaml(beats)) == beats and load(tmp_path, dump_yaml(logmel)) == logmel
    assert load(tmp_path, "", "encoder.name=logmel").encoder == LogmelEncoder()
    with pytest.raises(ValueError, match="^--set encoder.name=x: encoder.name: there is no 'x'"):
        load(tmp_path, "", "encoder.name=x", "train.lr=1")


def test_a_logmel_experiment_of_an_older_version_opens(tmp_path):
    assert (
        load(tmp_path, "encoder: {name: logmel, checkpoint: null, arch: null, train: false}").encoder.name == "logmel"
    )


def test_overrides_are_checked_like_the_file(tmp_path):
    config = load(tmp_path, "train: {lr: 1}", "train.lr=3e-5", "model.lora.rank=16", "data.sets=[dev_train]")
    assert config.train.lr == 3e-5 and config.model.lora.rank == 16 and config.data.sets == ["dev_train"]
    assert load(tmp_path, "model: {lora: {}}", "model.lora=null").model.lora is None
    for setting, message in [
        ("train.lrr=1", "^--set train.lrr=1: unknown key 'train.lrr'. Did you mean 'lr'"),
        (
            "train.frobnicate=1",
            "^--set train.frobnicate=1: unknown key 'train.frobnicate'. Allowed: steps, batch_size, ",
        ),
        ("train={lrr: 1}", "^--set train={lrr: 1}: unknown key 'train.lrr'"),
        ("trian.lr.x=1", "^--set trian.lr.x=1: unknown key 'trian'"),
        ("train.lr=x", "^--set train.lr=x: train.lr: .*got 'x'"),
        ("train.lr", "--set 'train.lr': expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("train.lr=[", r"--set train.lr=\["),
    ]:
        with pytest.raises(ValueError, match=message):
            load(tmp_path, "", setting)


def test_each_mistake_is_put_down_to_where_it_stands(tmp_path):
    with pytest.raises(ValueError, match=r"x\.yaml: unknown key 'train.lrr'"):
        load(tmp_path, "train: {lrr: 1}", "train.lr=1")
    with pytest.raises(ValueError) as error:
        load(tmp_path, "train: {lr: 1}", "score.k=0", "train.lr=-1", "data.workers=1")
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == [
        "--set train.lr=-1",
        "--set score.k=0",
    ]
    with pytest.raises(ValueError, match=r"^--set train.steps=5 --set score.k=3: train.save_steps \[9\] lie outside"):
        load(tmp_path, "train: {save_steps: [9]}", "train.steps=5", "score.k=3")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3", 3),
        ("0", 0),
        ("00", "00"),
        ("01", "01"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("2024-05-01", "2024-05-01"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1e", "1e"),
    ],
)
def test_yaml_reads_what_is_meant(text, value):
    read = parse_yaml(f"key: {text}", "x")["key"]
    assert read == value and type(read) is type(value)


def test_every_yaml_of_every_recipe_loads():
    loaders = {"dataset": load_description, "download": load_plan, "published": load_published}
    counts = dict.fromkeys(["dataset", "download", "published", "experiment"], 0)
    for path in sorted((ROOT / "egs").glob("*/conf/*.yaml")):
        kind = path.stem.partition("_")[0]  # dataset_NAME describes another corpus
        kind = kind if kind in loaders else "experiment"
        experiment = load_pretrain_config if path.parts[-3] == "pretrain" else load_config
        loaders.get(kind, experiment)(str(path))
        counts[kind] += 1
    assert all(count > 0 for count in counts.values()), counts


@pytest.mark.parametrize(
    ("text", "settings", "place"),
    [
        ("train: {steps: 500}", [], "x.yaml"),
        ("", ["train.lr=1", "train.steps=500"], "--set train.steps=500"),
        ("train: {steps: 500}", ["train.warmup_steps=960"], "--set train.warmup_steps=960"),
    ],
)
def test_a_warm_up_longer_than_the_training_is_refused(tmp_path, text, settings, place):
    message = f"{place}: train.warmup_steps 960 is longer than train.steps 500: .*Set train.warmup_steps to 500 at most"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text, *settings)


def test_a_warm_up_as_long_as_the_training_is_fine(tmp_path):
    assert load(tmp_path, "train: {steps: 960}").train.warmup_steps == 960
    assert load(tmp_path, "train: {steps: 0}").train.warmup_steps == 960  # nothing is trained


@pytest.fixture
def work(tmp_path):
    write_corpus(tmp_path / "corpus")
    prepare(tmp_path)
    (tmp_path / "x.yaml").write_text("train: {lr: 3e-7}\ndata: {balance: machine}")

    def run(*options):
        """Stage 2, or with `--check` and `--must-exist` what comes before a stage."""
        arguments = ["--config", tmp_path / "x.yaml", "--exp", tmp_path / "exp/a"]
        if "--check" in options or "--must-exist" in options:
            configure.main([*map(str, arguments), *(word for word in options if word != "--check")])
        else:
            folders = ["--data", tmp_path / "data", "--dump", tmp_path / "dump"]
            make_lists.main([*map(str, [*arguments, *folders]), *options])

    return tmp_path, run


def test_configure_writes_the_whole_configuration(work):
    tmp, run = work
    run("--set", "train.steps=970", "--set", "train.precision=bfloat16")
    text = (tmp / "exp/a/config.yaml").read_text()
    assert re.match(r"# made by: .*asdkit\.bin\.make_lists --config .*x\.yaml --set train\.steps=970 --set ", text)
    config = load_config(tmp / "exp/a/config.yaml")
    assert config == load_config(tmp / "x.yaml", ["train.steps=970", "train.precision=bfloat16"])
    assert set(yaml.safe_load(text)) == set(Config.model_fields)
    env = dict(line.split(": ", 1) for line in (tmp / "exp/a/env.txt").read_text().splitlines())
    assert {"git", "python", "torch", "host", "command"} <= env.keys()
    assert env["asdkit"] == asdkit.__version__


def test_a_setting_of_several_lines_stays_in_the_comment(work):
    tmp, run = work
    run("--set", "data.sets=[dev_train,\n eval_train]")
    lines = (tmp / "exp/a/config.yaml").read_text().splitlines()
    assert lines[0].startswith("# made by: ") and lines[1] == "#  eval_train]'"
    run("--must-exist", "true")


def test_the_defaults_survive_being_written_and_read(work):
    tmp, run = work
    (tmp / "x.yaml").write_text("{}")
    run()
    assert load_config(tmp / "exp/a/config.yaml") == Config()


def test_the_same_configuration_again_is_fine_and_another_is_refused(work):
    tmp, run = work
    run()
    before = snapshot(tmp / "exp")
    run()
    run("--must-exist", "true")
    run("--set", "train.lr=3.0e-7")
    assert snapshot(tmp / "exp") == before
    for options in ([], ["--must-exist", "true"], ["--must-exist", "true", "--force", "true"]):
        with pytest.raises(
            ValueError, match=r"a/config\.yaml: made with train\.lr = 3e-07, now 0\.1\. Use .*another --tag"
        ):
            run("--set", "train.lr=0.1", *options)
    with pytest.raises(ValueError, match=r"made with model\.lora"):
        run("--set", "model.lora.rank=3")
    assert snapshot(tmp / "exp") == before
    run("--set", "train.lr=0.1", "--force", "true")
    assert load_config(tmp / "exp/a/config.yaml").train.lr == 0.1


def test_a_later_stage_needs_a_configuration(work):
    tmp, run = work
    with pytest.raises(ValueError, match=r"config\.yaml does not exist: run stage 2 first"):
        run("--must-exist", "true")
    with pytest.raises(ValueError, match="unknown key 'train.lrr'"):
        run("--set", "train.lrr=1")
    assert not (tmp / "exp").exists()


def test_a_check_writes_nothing(work):
    tmp, run = work
    run("--check")
    with pytest.raises(ValueError, match="--set train.lrr=1: unknown key 'train.lrr'"):
        run("--check", "--set", "train.lrr=1")
    assert not (tmp / "exp").exists()
    run()
    before = snapshot(tmp / "exp")
    run("--check")
    run("--check", "--set", "train.lr=0.1", "--force", "true")
    with pytest.raises(ValueError, match=r"made with train\.lr = 3e-07, now 0\.1"):
        run("--check", "--set", "train.lr=0.1")
    assert snapshot(tmp / "exp") == before


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_a_missing_checkpoint_is_named_with_its_origin(work, mode):
    tmp, run = work
    there, missing = tmp / "x.pt", tmp / "no such.pt"
    there.write_bytes(b"weights")
    message = f"encoder.checkpoint: there is no file {missing}. Put it there, or name another: --set encoder"
    with pytest.raises(ValueError, match=re.escape(f"--set encoder.checkpoint={missing}: {message}")):
        run(*mode, "--set", f"encoder.checkpoint={missing}")
    (tmp / "x.yaml").write_text(f"encoder: {{checkpoint: {missing}}}")
    with pytest.raises(ValueError, match=re.escape(f"{tmp}/x.yaml: {message}")):
        run(*mode, "--set", "train.lr=1")
    assert not (tmp / "exp").exists()
    run("--set", f"encoder.checkpoint={there}")
    there.unlink()
    run("--must-exist", "true", "--set", f"encoder.checkpoint={there}")  # scores can be made without it
    with pytest.raises(ValueError, match=re.escape(f"exp/a/config.yaml: encoder.checkpoint: there is no file {there}")):
        train.main(["--data", str(tmp / "data"), "--exp", str(tmp / "exp/a")])


def test_a_check_is_quick_and_needs_no_torch(tmp_path):
    (tmp_path / "x.yaml").write_text("")
    code = "import sys; from asdkit.bin.configure import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    words = ["--config", tmp_path / "x.yaml", "--exp", tmp_path / "exp/a"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_program_fails_with_one_line(tmp_path):
    (tmp_path / "x.yaml").write_text("trian: {}")
    done = program("configure", "--config", tmp_path / "x.yaml", "--exp", tmp_path / "exp/a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path}/x.yaml: unknown key 'trian'. Did you mean 'train'?\n"


def test_a_folder_that_cannot_be_made_is_one_line(work):
    tmp, _ = work
    (tmp / "exp").write_text("a file")
    words = ["--config", tmp / "x.yaml", "--data", tmp / "data", "--exp", tmp / "exp/a", "--dump", tmp / "dump"]
    done = program("make_lists", *words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and str(tmp / "exp") in done.stderr


PROGRAMS = sorted(path.stem for path in Path(ROOT, "asdkit/bin").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_comes_quickly_and_without_torch(name):
    code = f"import sys; sys.argv[1:] = ['--help']; from asdkit.bin.{name} import main; main(None)"
    check = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "usage:" in done.stdout and done.stdout.endswith("False\n")
    # processor time, as the machine may be busy
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def all_types(annotation):
    return [annotation, *(inner for part in getattr(annotation, "__args__", ()) for inner in all_types(part))]


@pytest.mark.parametrize("whole", [Config, PretrainConfig])
def test_every_field_is_described(whole):
    open_sections = [whole]
    while open_sections:
        section = open_sections.pop()
        for name, field in section.model_fields.items():
            inner = [kind for kind in all_types(field.annotation) if isinstance(kind, type(Section))]
            assert field.description or inner, f"{section.__name__}.{name}"
            open_sections += inner


def test_there_are_programs():
    assert {"prepare_data", "configure", "make_lists", "extract_feats"} <= set(PROGRAMS)
