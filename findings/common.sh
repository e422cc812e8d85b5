# shellcheck shell=bash
# Sourced by the findings: a folder of its own for each run, removed at the end, with a new environment in it.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$work/env/bin/python

# install PACKAGE==VERSION...: into the new environment. PYTHON: the interpreter to build it from.
install() {
    "${PYTHON:-python3}" -m venv "$work/env"
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
    cd "$work" || exit
}
