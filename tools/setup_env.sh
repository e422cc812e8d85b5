#!/usr/bin/env bash
# Build the environment .venv with this package in it, or find it built:
#     tools/setup_env.sh [EXTRA,EXTRA...]      (extras of setup.py: test, dev, tensorboard)
# PYTHON: the interpreter to build it from (default python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
extras=${1-}

die() {
    echo "setup_env.sh: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || die "there is no $python: install Python 3.10 or newer, or name one: PYTHON=/path/to/python3"
version=$("$python" -c 'import sys; print(sys.version_info >= (3, 10), ".".join(map(str, sys.version_info[:3])))')
[[ $version == True* ]] || die "$python is Python ${version#* }: 3.10 or newer is needed; name one: PYTHON=/path/to/python3"

# What the environment was built from. A stamp for each choice of extras; written last.
built_from=$(printf '%s\n' "$PWD" "$version" && cat setup.py)
stamp=.venv/.installed${extras:+.$extras}
[[ ! -e $stamp || $(<"$stamp") != "$built_from" ]] || exit 0

if [[ ! -e .venv/.python || $(<.venv/.python) != "$PWD $version" ]]; then
    echo "== environment: .venv, $("$python" --version)"
    [[ ! -e .venv/.python ]] || rm -rf .venv
    "$python" -m venv .venv || die "'$python -m venv' failed (above). On Debian and Ubuntu: apt-get install python3-venv;" \
        "or name another interpreter: PYTHON=/path/to/python3"
    echo "$PWD $version" >.venv/.python
fi
echo "== environment: installing asdkit${extras:+[$extras]}; the first time takes some minutes"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}" ||
    die "pip failed (above); the next call goes on from here"
echo "$built_from" >"$stamp"
