#!/usr/bin/env bash
# The paper's studies in small: ./study.sh table4|table5|table11 [options]. Options: ./study.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh study.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/study.sh "$@"
