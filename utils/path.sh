# shellcheck shell=bash
# Sourced by the driver: programs find the environment that `make env` builds, and the package of this checkout.
# After utils/parse_options.sh, for die.

asdkit_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ ! -x $asdkit_root/.venv/bin/python3 ]] || export PATH="$asdkit_root/.venv/bin:$PATH"
export PYTHONPATH="$asdkit_root${PYTHONPATH:+:$PYTHONPATH}"

# Say what to do when python3 lacks what the programs need; quick, imports nothing.
check_python() {
    local found='import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ("torch", "pydantic")))'
    python3 -c "$found" ||
        die "$(command -v python3 || echo python3) has no torch or pydantic: run 'make env' in $asdkit_root"
}
