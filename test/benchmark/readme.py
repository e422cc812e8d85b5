"""The README's figures on speed, all in one run on one machine.

    python3 test/benchmark/readme.py --out FOLDER [--only lora,knn] [--beats FOLDER] [--real FOLDER]

Runs the scripts of the README's table one after the other, in the order there. What each prints goes to FOLDER/NAME.txt
below the command, the processor, the commit and the load before and after; what is there is kept, so the same command
goes on where it was killed. peers.py is run where --beats says where the authors' code lies. gpu.py is left out: it
wants a machine of its own, recipe.py: it wants an older checkout. About an hour on two cores, which should have nothing
else to do.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

SCRIPTS = {
    "lora": ["lora.py", "--rounds", "40"],
    "peers": ["peers.py", "--beats"],
    "encoder": ["encoder.py", "--rounds", "15"],
    "encoder_one_thread": ["encoder.py", "--rounds", "15", "--threads", "1"],
    "knn": ["knn.py"],
    "loader": ["loader.py"],
    "prepare": ["prepare.py"],
    "encoders": ["encoders.py", "--rounds", "2"],
    "density": ["knn.py", "--density", "4"],
    "bands": ["scoring.py", "--bands", "8"],
    "arrays": ["arrays.py"],
    "detect": ["detect.py"],
    "page": ["page.py"],
    "scoring": ["scoring.py"],
    "scoring_sections": ["scoring.py", "--machines", "7", "--sections", "6"],
}


def processor() -> str:
    """Its name, and which of the units for bfloat16 it has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    words = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    units = [name for name in ("amx_bf16", "avx512_bf16") if name in words.get("flags", "").split()]
    return f"{words.get('model name', 'unknown')}, {os.cpu_count()} cores{''.join(f', {unit}' for unit in units)}"


def run(name: str, words: list[str], out: Path) -> bool:
    """Run one script and keep what it prints, as NAME.failed where it fails; whether it went well."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    started, before = time.time(), os.getloadavg()[0]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(HERE / words[0]), *words[1:]]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = f"test/benchmark/{' '.join(words)}\n{processor()}\n{commit or 'no git'}\nload {before:.1f} before, "
    told += f"{os.getloadavg()[0]:.1f} after {time.time() - started:.0f} s\n\n{done.stdout}"
    (out / f"{name}.txt" if not done.returncode else out / f"{name}.failed").write_text(told, encoding="utf-8")
    print(f"{told}exit code {done.returncode}\n", flush=True)
    return not done.returncode


def main() -> int:
    """Run what is missing in the folder; 1 where a script failed (or, for page.py, missed a limit)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SCRIPTS), help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--beats", help="folder of the authors' BEATs.py, for peers.py")
    parser.add_argument("--real", help="folder of BLDCMotor, for detect.py")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - set(SCRIPTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: give some of {', '.join(SCRIPTS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    more = {"detect": ["--real", args.real] if args.real else [], "peers": [args.beats]}
    if not args.beats and "peers" in names:
        print("peers.py is left out: --beats says where the authors' BEATs.py lies", flush=True)
        names.remove("peers")
    missing = [name for name in names if not (args.out / f"{name}.txt").exists()]
    return int(not all([run(name, SCRIPTS[name] + more.get(name, []), args.out) for name in missing]))


if __name__ == "__main__":
    sys.exit(main())
