"""Detectors on generated machines and on real recordings, clean and in noise, by the package's own programs: a table.

    python3 test/benchmark/detectors.py --real FOLDER --out FOLDER [--jobs 2] [--seeds "0 1 2"] [--corpora A,B]

FOLDER of --real holds bldc/dev_data/BLDCMotor and dcase2020/dev_data/slider; of slide rail the clips are those of
level.py. The two machines make up one corpus of egs/custom, written anew for each noise (asdkit.signals.noise; pink and
factory at 0, -6, -12 dB of each clip's own level, in training and test clips alike, seeded by the clip's name). The
generated machines are those of egs/mini. On each corpus: log-mels and the shipped encoder as it is, embedded once
and scored by every detector; fine-tuned (egs/custom/conf/lora_ga.yaml) with --seeds; egs/custom's default; fusions.
What is made is kept in --out: the same command goes on; without --real it shows what is there. --corpora takes some
(mini, clean, KIND_SNR). A run of a recipe has one thread; --jobs of them run at once.

Prints official scores in percent (mini: of dev and eval, DCASE 2022; others: mean of AUC and pAUC of motors and slide
rail; mean and deviation over seeds), and what choosing without labels costs (choose.py); also to OUT/table.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import choose  # noqa: E402
from level import MACHINES, clips_of  # noqa: E402
from noisy import CORPORA, write  # noqa: E402

from asdkit.report.tables import table  # noqa: E402
from asdkit.utils.files import read_json, write_text  # noqa: E402

VIEWS = "distance: standardised, per_domain: false"
WHITENED = "distance: whitened, per_domain: false"
VARIANCE = "per_domain: false, rescale: {kind: variance, k: 4}"
DENSITY = "array: hybrid, join: coupled, distance: euclid"
ARRAYS = {
    "deviation": "{pooling: std}",
    "mel": "{pooling: mean, layers: 0}",
    "mel_deviation": "{pooling: std, layers: 0}",
}
POOLED = ARRAYS | {
    "gem": "{pooling: gem}",
    "layer3": "{pooling: mean, layers: 3}",
    "layers46": "{pooling: mean, layers: [4, 5, 6]}",
    "bands": "{pooling: mean, bands: true}",
    "rdp4": "{pooling: rdp, gamma: 4.0, bands: true}",
    "rdp8": "{pooling: rdp, gamma: 8.0, bands: true}",
    "hybrid": "{pooling: hybrid, gamma: 16.0, p: 3.0, weights: frame, bands: true}",
}
ANY = {
    "knn": "{}",
    "euclid": "{distance: euclid}",
    "standardised": f"{{{VIEWS}}}",
    "whitened": f"{{{WHITENED}}}",
    "mahalanobis": "{}",
    "deviation": "{array: deviation, distance: euclid}",
    "deviation_mahalanobis": "{detector: mahalanobis, array: deviation}",
    "both": f"{{array: [embedding, deviation], {VIEWS}}}",
}
SCORES = ANY | {
    "coupled": f"{{array: [embedding, deviation, mel, mel_deviation], {VIEWS}, join: coupled}}",
    "views": f"{{array: [embedding, deviation, mel, mel_deviation], {VIEWS}}}",
    "gem": "{array: gem}",
    "layer3": "{array: layer3}",
    "layers46": "{array: layers46}",
    "zscore": "{normalise: zscore}",
    "median": "{normalise: median}",
    "ratio": "{per_domain: false, rescale: {kind: ratio, k: 2}}",
    "variance": f"{{{VARIANCE}}}",
    "bands": "{array: bands, per_domain: false}",
    "bands_max": "{array: bands, join: max, per_domain: false}",
    "bands_coupled": "{array: bands, join: coupled, per_domain: false}",
    "rdp4": f"{{array: rdp4, {VARIANCE}}}",
    "rdp8": f"{{array: rdp8, {VARIANCE}}}",
    "density": f"{{{DENSITY}, per_domain: false, rescale: {{kind: log_variance}}}}",
    "density_ratio": f"{{{DENSITY}, per_domain: false, rescale: {{kind: ratio}}}}",
    "density_domains": f"{{{DENSITY}, rescale: {{kind: ratio, k: 16, k_target: 9, total: true}}}}",
    "kmeans": "{}",
    "lof": "{}",
    "gmm": "{covariance_type: diag}",
    "iforest": "{}",
}
TUNED = {
    "knn": "{}",
    "views": f"{{array: [tokens, deviation, mel, mel_deviation], {VIEWS}}}",
    "all_views": f"{{array: [embedding, tokens, deviation, mel, mel_deviation], {VIEWS}}}",
}
FUSIONS = {  # tag -> members; all seeds of a trained one are in it
    "fused_logmel_frozen": "logmel:knn frozen:knn",
    "fused_deviations": "logmel:deviation frozen:deviation",
    "fused_logmel_lora": "logmel:knn lora_ga:knn",
    "fused_default_lora": "default:knn lora_ga:knn",
}


def section(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"


# tag -> configuration of egs/custom, settings, whether it has --seeds
EXPERIMENTS: dict[str, tuple[str, list[str], bool]] = {
    "lora_ga": (
        "lora_ga",
        [f"embed.arrays={section(ARRAYS | {'tokens': '{pooling: mean}'})}", f"score={section(TUNED)}"],
        True,
    ),
    "frozen": ("frozen", [f"embed.arrays={section(POOLED)}", f"score={section(SCORES)}"], False),
    "default": ("default", [], False),
    "logmel": ("logmel", ["embed.arrays={deviation: {pooling: std}}", f"score={section(ANY)}"], False),
}


def places(out: Path, corpus: str) -> list[str]:
    """Where a corpus's data and experiments are, as options of the driver."""
    return [
        word for key, name in (("data", "data"), ("expdir", "exp")) for word in (f"--{key}", str(out / corpus / name))
    ]


def call(log: Path, words: list[str]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with open(log, "w") as file:
        environment = {**os.environ, **threads, "CUDA_VISIBLE_DEVICES": ""}
        failed = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    if failed:
        raise RuntimeError(f"{' '.join(words)}: exit {failed}; {log} ends\n{log.read_text()[-2000:]}")


def run(out: Path, corpus: str, tag: str, config: str, settings: list[str], *options: str) -> None:
    """One experiment on one corpus, by the recipe's run.sh."""
    recipe = ROOT / "egs" / ("mini" if corpus == "mini" else "custom")
    sounds = out / "corpora" / ("mini" if corpus == "mini" else f"{corpus}/list.csv")
    words = ["bash", str(recipe / "run.sh"), "--corpus", str(sounds), "--config", f"../custom/conf/{config}.yaml"]
    words += [*places(out, corpus), "--dump", str(out / corpus / "dump"), "--tag", tag, "--nj", "1", *options]
    words += [word for setting in settings for word in ("--set", setting)]
    call(out / "log" / f"{corpus}.{tag}.log", [*words, "--num-threads", "1"])


def fuse(out: Path, corpus: str, tag: str, seeds: list[str]) -> None:
    members = []
    for member in FUSIONS[tag].split():
        name, _, score = member.partition(":")
        members += [f"{one}:{score}" for one in tags(name, seeds)]
    words = ["bash", str(ROOT / "utils/fuse.sh"), "--tag", tag, "--members", " ".join(members), "--over-seeds", "true"]
    call(out / "log" / f"{corpus}.{tag}.log", [*words, *places(out, corpus)])


def tags(name: str, seeds: list[str]) -> list[str]:
    """The tags of an experiment: one for each seed where something is random, so that they run at once."""
    return [f"{name}_{seed}" for seed in seeds] if EXPERIMENTS[name][2] else [name]


def at_once(jobs: int, work: dict[str, Callable[[], None]]) -> None:
    """Run the work, `jobs` at a time; raises the first error when all has ended."""
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one): name for name, one in work.items()}
        for number, future in enumerate(as_completed(futures), 1):
            error = future.exception()
            failed += [error] if error else []
            print(f"{number}/{len(work)} {futures[future]}{' FAILED' if error else ''}", file=sys.stderr, flush=True)
    if failed:
        raise failed[0]


def make(args: argparse.Namespace) -> None:
    """Corpora; what is trained, embedded and scored, the slowest first; fusions."""
    out, clips, seeds = args.out, clips_of(args.real), args.seeds.split()
    at_once(args.jobs, {f"write {name}": partial(write, out, name, clips) for name in args.corpora if name != "mini"})
    prepared = ("default", [], "--stop-stage", "1")
    at_once(args.jobs, {f"{name} data": partial(run, out, name, "data", *prepared) for name in args.corpora})
    work = {}
    for name, (config, settings, several) in EXPERIMENTS.items():
        for corpus in args.corpora:
            for seed, tag in zip(seeds if several else ["0"], tags(name, seeds), strict=True):
                work[f"{corpus} {tag}"] = partial(run, out, corpus, tag, config, settings, "--seeds", seed)
    at_once(args.jobs, work)
    every = [(corpus, tag) for corpus in args.corpora for tag in FUSIONS]
    at_once(args.jobs, {f"{corpus} {tag}": partial(fuse, out, corpus, tag, seeds) for corpus, tag in every})
    at_once(args.jobs, {f"{name} estimates": partial(estimate, out, name) for name in args.corpora})


def estimate(out: Path, corpus: str) -> None:
    """What `choose` says of the corpus's systems, without labels, and their AUC."""
    program = [
        sys.executable,
        str(Path(__file__).parent / "choose.py"),
        "--save",
        str(out / "estimates" / f"{corpus}.json"),
    ]
    call(out / "log" / f"{corpus}.estimates.log", [*program, *places(out, corpus)])


def columns(corpora: list[str]) -> list[tuple[str, str]]:
    """Corpus and what of it: a set of mini, a machine of the others."""
    return [(corpus, part) for corpus in corpora for part in (("dev", "eval") if corpus == "mini" else MACHINES)]


def scores_of(exp: Path, part: str) -> dict[str, float]:
    """Score's name -> official score in percent of a set of mini, or of a machine; none where nothing is there."""
    if not (exp / "results.json").exists():
        return {}
    found = {}
    for name, result in read_json(exp / "results.json")["scores"].items():
        sets = result["sets"]
        rows = {row["machine"]: row["score"] for one in sets.values() for row in one["machines"]}
        value = sets[part]["official"] if part in sets else rows.get(part)
        if value:
            found[name] = 100 * value["mean"]
    return found


def measured(out: Path, corpora: list[str], seeds: list[str]) -> dict[str, dict[tuple[str, str], list[float]]]:
    """System -> column -> official score of each seed."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for name in (*EXPERIMENTS, *FUSIONS):
        for column in columns(corpora):
            for tag in tags(name, seeds) if name in EXPERIMENTS else [name]:
                for score, value in scores_of(out / column[0] / "exp" / tag, column[1]).items():
                    system = name if score in ("fusion", "knn") else f"{name} {score}"
                    found.setdefault(system, {}).setdefault(column, []).append(value)
    return found


def show(found: dict[str, dict[tuple[str, str], list[float]]], corpora: list[str]) -> str:
    """The table, the best first, and how egs/custom's default compares with the better of log-mels and encoder."""
    wanted = columns(corpora)
    short = {"dev": "dev", "eval": "eval", MACHINES[0]: "motors", MACHINES[1]: "slide rail"}
    rows, means = [], {}
    for system, own in found.items():
        values = [own.get(column, []) for column in wanted]
        told = [
            f"{statistics.fmean(v):.1f}" + (f" ± {statistics.stdev(v):.1f}" if len(v) > 1 else "") if v else "-"
            for v in values
        ]
        means[system] = statistics.fmean(map(statistics.fmean, values)) if all(values) else float("nan")
        rows.append([system, *told, f"{means[system]:.2f}"])
    rows.sort(key=lambda row: -float(row[-1]) if row[-1] != "nan" else 999)
    heads = [f"{corpus.replace('_', ' ')} {short[part]}" for corpus, part in wanted]
    text = table(["system", *heads, "mean"], rows)
    plain = [found.get(name, {}) for name in ("default", "logmel", "frozen")]
    if all(column in own for own in plain for column in wanted):
        ahead = {c: statistics.fmean(plain[0][c]) - max(statistics.fmean(own[c]) for own in plain[1:]) for c in wanted}
        worst = min(ahead, key=lambda column: ahead[column])
        mean = means["default"] - max(means["logmel"], means["frozen"])
        text += f"\ndefault less the better of logmel and frozen: {mean:+.2f} of the means, "
        text += f"{ahead[worst]:+.2f} where it is least ({' '.join(worst)})\n"
    return text


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--real", type=Path, help="folder of the recordings; without it, what is there is shown")
    made.add_argument("--out", type=Path, required=True, help="where corpora and experiments are kept")
    made.add_argument("--jobs", type=int, default=2)
    made.add_argument("--seeds", default="0 1 2")
    made.add_argument("--corpora", type=lambda text: text.split(","), default=list(CORPORA))
    return made


def main() -> None:
    args = parser().parse_args()
    args.out = args.out.absolute()
    if unknown := [name for name in args.corpora if name not in CORPORA]:
        raise SystemExit(f"--corpora {unknown[0]}: allowed are {', '.join(CORPORA)}")
    if args.real:
        make(args)
    seeds = args.seeds.split()
    text = show(measured(args.out, args.corpora, seeds), args.corpora)
    if saved := [path for name in args.corpora if (path := args.out / "estimates" / f"{name}.json").exists()]:
        text += "\nAUC points lost by a choice (choose.py):\n\n" + choose.regrets(choose.read(saved))
    write_text(args.out / "table.md", text)
    print(text, end="", flush=True)


if __name__ == "__main__":
    main()
