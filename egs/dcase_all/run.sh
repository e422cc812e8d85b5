#!/usr/bin/env bash
# One training on DCASE Task 2 of all years that are on disk, scored year by year: ./run.sh --corpus FOLDER, which holds a
# folder for each year. Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash local/years.sh "$@"
