#!/usr/bin/env bash
# Stage 0: fetch the recordings into a folder. Further options go to the download: local/data.sh downloads --help
set -euo pipefail

if [[ $# -lt 1 || $1 == -* ]]; then
    echo "usage: $0 CORPUS_DIR [options of asdkit.bin.download]" >&2
    exit 2
fi
recipe=$(dirname "${BASH_SOURCE[0]}")/..
# shellcheck source=utils/path.sh
. "$recipe/../../utils/path.sh"
exec python3 -m asdkit.bin.download --download "$recipe/conf/download.yaml" \
    --dataset "$recipe/conf/dataset.yaml" --out "$@"
