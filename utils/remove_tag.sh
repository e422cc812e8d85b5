#!/usr/bin/env bash
# Remove an experiment and its row in RESULTS.md; in the recipe's folder:
#     ../../utils/remove_tag.sh [options] exp/<tag>
# Shows what goes and asks. Refused while a run or job works on it. Links are removed, not what they point to.

set -euo pipefail

# Options
yes=false          # true: do not ask
features=false     # true: and its dumped features, unless another experiment of the folder uses them
dump=dump          # folder of the lists and features
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/path.sh
. "$utils/path.sh"
# shellcheck source=utils/jobs.sh
. "$utils/jobs.sh"
# shellcheck source=utils/locks.sh
. "$utils/locks.sh"

(($# == 1)) || die "got $# folders, expected one: exp/<tag>"
check_python
if [[ -d $1 && ! -L ${1%/} && (-f $1/config.yaml || -f $1/.fuse.lock) ]]; then # else the program says what is wrong
    exec {lock}>>"$1/.lock"
    holder=''
    take "$1" 0 || die "a run is at work in $1, or a job that a killed one left; $holder"
    left_jobs "$1" true
    [[ -z $REPLY ]] || die "jobs of a killed run are at work in $1; Slurm: $REPLY"
fi
published=()
[[ ! -f conf/published.yaml ]] || published=(--published conf/published.yaml)
exec python3 -m asdkit.bin.remove_tag --exp "$1" --yes "$yes" --features "$features" --dump "$dump" "${published[@]}"
