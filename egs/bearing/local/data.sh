#!/usr/bin/env bash
# Generate the bearing corpus in a folder; further options go to generate.py (--seed, --clips-per-domain, --seconds, --force).
# Finished with the same settings: skipped. Finished with other settings: an error, nothing is touched. With --force true
# a finished corpus is made again.
set -euo pipefail

if [[ $# -lt 1 || $1 == -* ]]; then
    echo "usage: $0 CORPUS_DIR [generate.py options]" >&2
    exit 2
fi
corpus=$1
shift
[[ ${1-} != --machines ]] || shift 2 # the driver's; all machines are made, stage 1 chooses
exec python3 "$(dirname "${BASH_SOURCE[0]}")/generate.py" --out "$corpus" "$@"
