#!/usr/bin/env bash
# The paper's tables and figures: ./study.sh table1|table2|table3|table4|table5|table11|fig5|fig6|fig7 [options].
# Options: ./study.sh --help
# Tables I and II are the same experiments, on the development and on the evaluation set.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh study.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/study.sh "$@"
