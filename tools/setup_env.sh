#!/usr/bin/env bash
# Build the environment .venv with this package in it, or find it built:
#     tools/setup_env.sh [EXTRA,EXTRA...]      (extras of setup.py: test, dev, tensorboard, hf, files, report, export, mqtt)
# PYTHON: the interpreter to build it from (default python3).
# CONSTRAINTS: a file with the versions to install, or nothing for the newest allowed (default constraints.txt).
# PIP_OPTIONS: further options of pip, such as an index with CPU builds of torch; split at spaces.
# The last two are remembered with the environment; other ones build it anew.
# SPACE: the GB that the environment takes, checked before pip starts (default 6).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
extras=${1-}
if [[ $extras == -* ]]; then
    sed -n '/^# /s///p; /^set/q' tools/setup_env.sh
    [[ $extras == -h || $extras == --help ]] || exit 2
    exit
fi

die() {
    echo "setup_env.sh: $*" >&2
    exit 1
}

# check_space FOLDER GB
check_space() {
    local free
    free=$(df -Pk -- "$1" | awk 'NR == 2 { print int($4 * 1024 / 1e9) }')
    ((free >= $2)) || die "$(cd "$1" && pwd) has $free GB free, and installing needs $2: make room (for the downloads," \
        "TMPDIR=/another/folder), or use CPU builds of torch (README, 'A smaller installation') and say SPACE=2"
}

command -v "$python" >/dev/null || die "there is no $python: install Python 3.10 or newer, or name one: PYTHON=/path/to/python3"
version=$("$python" -c 'import sys; print(sys.version_info >= (3, 10), ".".join(map(str, sys.version_info[:3])))')
[[ $version == True* ]] || die "$python is Python ${version#* }: 3.10 or newer is needed; name one: PYTHON=/path/to/python3"

# What was chosen when the environment was built, one a line.
chosen=(constraints.txt "")
[[ ! -e .venv/.chosen ]] || mapfile -t chosen <.venv/.chosen
constraints=${CONSTRAINTS-${chosen[0]}}
[[ -z $constraints || -r $constraints ]] || die "CONSTRAINTS: there is no file $constraints"
read -ra pip_options <<<"${PIP_OPTIONS-${chosen[1]-}}"
choice=$(printf '%s\n' "$constraints" "${pip_options[*]}")

# What the environment was built from. A stamp for each choice of extras; written last.
built_from=$(printf '%s\n' "$PWD" "$version" "$choice" && cat setup.py ${constraints:+"$constraints"})
stamp=.venv/.installed${extras:+.$extras}
[[ ! -e $stamp || $(<"$stamp") != "$built_from" ]] || exit 0

if [[ ! -e .venv/.python || $(<.venv/.python) != "$PWD $version" || $(printf '%s\n' "${chosen[@]}") != "$choice" ]]; then
    echo "== environment: .venv, $("$python" --version)"
    [[ ! -e .venv/.python ]] || rm -rf .venv
    check_space . "${SPACE:-6}"
    check_space "${TMPDIR:-/tmp}" $(((${SPACE:-6} + 1) / 2)) # the downloads, while pip runs
    "$python" -m venv .venv || die "'$python -m venv' failed (above). On Debian and Ubuntu: apt-get install python3-venv;" \
        "or name another interpreter: PYTHON=/path/to/python3"
    echo "$choice" >.venv/.chosen
    echo "$PWD $version" >.venv/.python
fi
echo "== environment: installing asdkit${extras:+[$extras]}; the first time takes some minutes"
.venv/bin/python -m pip install --quiet --disable-pip-version-check ${constraints:+--constraint "$constraints"} \
    ${pip_options[@]+"${pip_options[@]}"} -e ".${extras:+[$extras]}" || die "pip failed (above); the next call goes on from here"
echo "$built_from" >"$stamp"
