#!/usr/bin/env bash
# Makes one system of several experiments, by their scores, and reports it as stage 6 does. In a recipe's folder:
#     ../../utils/fuse.sh --tag NAME --members "TAG TAG:SCORE ..." [options]
# A member is an experiment with one score, or TAG:SCORE. The result is exp/NAME.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh fuse.sh
set -euo pipefail

# Options
tag=                         # name of the experiment to make
members=                     # what it is made of: --members "beats_frozen logmel:knn"
scale=zscore                 # of each machine's scores before they are joined: zscore, median, minmax, none or rank
join=mean                    # one score from the members': mean, max or min
weights=                     # of the members in a mean: --weights "2 1" (default: all equal)
over_seeds=false             # true: all seeds of all members in one system (otherwise members pair by seed)
threshold_percentile=90      # the decision threshold: percentile of training clips' scores
data=data                    # folder of the manifests
expdir=exp                   # folder of the experiments
force=false                  # true: fuse and evaluate again
dry_run=false                # true: print the commands, run nothing
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/path.sh
. "$utils/path.sh"

# call WORDS: run a command, or print it in a dry run.
call() {
    if [[ $dry_run == true ]]; then
        printf '%q' "$1" && printf ' %q' "${@:2}" && echo
    else
        "$@"
    fi
}

(($# == 0)) || die "unexpected word '$1': several members stand in one word, --members \"$members $1\""
[[ $tag =~ ^[[:alnum:]][[:alnum:]._+-]{0,199}$ ]] ||
    die "--tag '$tag' has to be a folder's name: up to 200 letters, digits, . _ + -"
read -ra named <<<"$members"
read -ra weighed <<<"$weights"
folders=()
for member in "${named[@]}"; do
    [[ -d $expdir/${member%%:*} || $dry_run == true ]] ||
        die "--members: there is no experiment $expdir/${member%%:*}; a member is TAG or TAG:SCORE"
    folders+=("$expdir/$member")
done
((${#folders[@]})) || die "--members names the experiments to fuse: --members \"beats_frozen logmel\""

forced=() published=()
[[ $force == false ]] || forced=(--force true)
[[ ! -f conf/published.yaml ]] || published=(--published conf/published.yaml)
[[ $dry_run == true ]] || check_python
call python3 -m asdkit.bin.fuse --data "$data" --exp "$expdir/$tag" --members "${folders[@]}" --scale "$scale" \
    --join "$join" ${weights:+--weights "${weighed[@]}"} --over-seeds "$over_seeds" \
    --threshold-percentile "$threshold_percentile" "${forced[@]}" || die "nothing was fused"
call python3 -m asdkit.bin.report --data "$data" --exp "$expdir/$tag" "${published[@]}" "${forced[@]}" ||
    die "the fusion is there, the report failed"
[[ $dry_run == true ]] || printf '== %s\n' "page: $expdir/$tag/report/index.html" "results: $expdir/$tag/RESULTS.md"
