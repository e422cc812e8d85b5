#!/usr/bin/env bash
# Runs the experiments that make one table or figure of a publication, and shows its numbers beside ours. In a recipe's
# folder:
#     ../../utils/study.sh NAME [options]
# NAME is that of conf/study/NAME.yaml. Experiments that are finished are skipped, those whose weights are not there are
# named and left out; after an interruption the same command goes on. The table is exp/NAME.md, the figure exp/NAME.pdf
# and exp/NAME.png.


# shellcheck disable=SC2034,SC2154  # options are read by name; some are the driver's
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh study.sh
set -euo pipefail

# Options
# as in asd.sh: seeds
set=()                       # changes a value of every experiment, repeatable: --set train.steps=100 (use another --expdir)
stage=1                      # first stage of each experiment
corpus=                      # folder of the recordings (default: as run.sh says)
dataset=                     # what the corpus looks like (default: as run.sh says)
# as in asd.sh: data dump expdir cmd nj gpu nodes num_threads dry_run
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
study=
if [[ ${1---} != -* ]]; then
    study=$1
    shift
fi
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/path.sh
. "$utils/path.sh"

(($# == 0)) || die "unexpected word '$1': one study at a time, and its name comes first"
names=
for path in conf/study/*.yaml; do
    [[ ! -f $path ]] || names+=" $(basename "$path" .yaml)"
done
[[ -n $study ]] || die "name a study:${names:- conf/study holds none here}"
file=conf/study/$study.yaml
[[ -f $file ]] || die "there is no study '$study' here; there are:${names:- none}"
check_python

options=(--seeds "$seeds" --stage "$stage")
for key in corpus dataset data dump expdir cmd nj gpu nodes num_threads; do
    [[ -z ${!key} ]] || options+=("--${key//_/-}" "${!key}")
done
changes=()
for change in "${set[@]}"; do changes+=(--set "$change"); done
options+=("${changes[@]}")
[[ $dry_run == false ]] || options+=(--dry-run)

list=(python3 -m asdkit.bin.study --study "$file" --exp "$expdir" --seeds "$seeds" "${changes[@]}" --list true)
rows=$("${list[@]}") || die "nothing was run"
failed=()
while IFS=$'\t' read -r tag config own_changes; do
    [[ -n $tag ]] || continue
    IFS=$'\t' read -ra words <<<"$own_changes"
    own=()
    for change in "${words[@]}"; do own+=(--set "$change"); done
    echo "== $study: $tag"
    ./run.sh --config "$config" --tag "$tag" "${own[@]}" "${options[@]}" </dev/null || failed+=("$tag")
done <<<"$rows"

# What figures of scores over steps need: the weights kept on the way, scored.
over_steps=(--seeds "$seeds")
for key in data dump expdir cmd gpu num_threads; do
    [[ -z ${!key} ]] || over_steps+=("--${key//_/-}" "${!key}")
done
((gpu <= 1)) || over_steps+=(--gpu 1)
[[ $dry_run == false ]] || over_steps+=(--dry-run)
tags=$(python3 -m asdkit.bin.study --study "$file" --steps true)
for tag in $tags; do
    [[ " ${failed[*]-} " != *" $tag "* ]] || continue
    "$utils/steps.sh" --tag "$tag" "${over_steps[@]}" </dev/null || failed+=("$tag")
done

table=(python3 -m asdkit.bin.study --study "$file" --exp "$expdir" --data "$data")
if [[ $dry_run == true ]]; then
    printf '%q ' "${table[@]}" && echo
elif "${table[@]}"; then
    echo "== $study: $expdir/$study.md"
else
    failed+=("the table or figure")
fi
((${#failed[@]} == 0)) || die "failed: ${failed[*]}; the same command goes on"
