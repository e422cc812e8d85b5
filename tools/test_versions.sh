#!/usr/bin/env bash
# Run the unit tests of what is committed with the oldest and the newest allowed version of each dependency, on each
# interpreter named:
#     tools/test_versions.sh PYTHON...            (such as python3.10 python3.13)
# Prints the table that CONTRIBUTING.md shows. Environments and downloads lie in a temporary folder (in TMPDIR; 20 GB); it
# is removed but for the logs of what failed. KINDS=newest tries one kind only. The oldest is the oldest that has a wheel for
# the interpreter.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# == 0)); then
    echo "Usage: tools/test_versions.sh PYTHON..." >&2
    exit 1
fi
# Whole recipes, the shell and the fetching of archives take minutes and depend little on the versions.
left_out=(custom distributed download driver locks mini_corpus new_year partial_corpus pretrain recipe remove_tag repo
    run_local setup_env shell slurm survival years_e2e)
shown=(torch torchaudio numpy scikit-learn kaldiio soundfile pydantic pyyaml tqdm tensorboard transformers pytest)

work=$(mktemp -d)
trap 'rm -rf "$work"/{cache,code,env,uv,wanted}; rmdir "$work" 2>/dev/null || echo "logs of what failed: $work" >&2' EXIT
export UV_CACHE_DIR=$work/cache OMP_NUM_THREADS=1
git clone --quiet "$root" "$work/code"
python3 -m venv "$work/uv"
"$work/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv setuptools
uv=$work/uv/bin/uv

cd "$work/code"
"$work/uv/bin/python" setup.py --quiet egg_info
sed '/^\[dev\]/,/^$/d; /^\[/d; /^$/d' asdkit.egg-info/requires.txt >"$work/wanted"
arguments=(-q -n auto --maxprocesses 8 -m "not long" test)
for name in "${left_out[@]}"; do arguments+=(--ignore "test/test_$name.py"); done

# install KIND PYTHON: the environment $work/env, with one kind of versions
install() {
    local into=(--quiet --python "$work/env/bin/python") kind=()
    [[ $1 != oldest ]] || kind=(--resolution lowest-direct)
    rm -rf "$work/env"
    "$2" -m venv "$work/env" &&
        "$uv" pip install "${into[@]}" "${kind[@]}" --only-binary :all: --requirement "$work/wanted" &&
        "$uv" pip install "${into[@]}" --no-deps --editable .
}

cells=$(printf ' %s |' Python versions "${shown[@]}" tests)
printf '|%s\n|%s\n' "$cells" "$(tr -dc '|' <<<"$cells" | sed 's/|/---|/g')"
failed=0
for kind in ${KINDS:-oldest newest}; do
    for python in "$@"; do
        version=$("$python" -c 'import platform; print(platform.python_version())')
        log=$work/$kind-$version.log
        if ! install "$kind" "$python" >"$log" 2>&1; then
            result="no installation" failed=1
        else
            result=$(PATH=$work/env/bin:$PATH "$work/env/bin/python" -m pytest "${arguments[@]}" 2>&1 | tee -a "$log" | tail -n 1) || true
            result=$(grep -oE '[0-9]+ (passed|failed|error)[a-z]*' <<<"$result" | paste -sd ' ') || result="did not run"
        fi
        found=$("$work/env/bin/python" -m pip list --format freeze --disable-pip-version-check) || true
        row=("$version" "$kind")
        for package in "${shown[@]}"; do row+=("$(sed -n "s/^$package==//Ip" <<<"$found")"); done
        printf '|%s\n' "$(printf ' %s |' "${row[@]}" "$result")"
        if [[ $result =~ ^[0-9]+\ passed$ ]]; then rm "$log"; else failed=1; fi
    done
    rm -rf "$work/cache" # one version of torch for each interpreter is enough at a time
done
exit "$failed"
