#!/usr/bin/env bash
# The paper's studies in small: ./study.sh table4|table5|table11|fig5|fig6|fig7 [options]. Options: ./study.sh --help
# What they do and do not show: README.md.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh study.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/study.sh "$@"
