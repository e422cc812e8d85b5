#!/usr/bin/env bash
# What run.sh does, in its folder: one training on DCASE Task 2 of all years that are on disk, scored year by
# year, each as its own recipe scores it.
#     ./run.sh [--corpus FOLDER] [options]
# FOLDER/2020 ... FOLDER/2026 hold what downloads/ of egs/dcase<year> would; those that are there are taken.
# 0 download  fetch the recordings of the years that --years names
# 1 data      one manifest per set and year; the training clips of all years as one, each sound once
# 2 lists     labels of these
# 3 train     one network per seed
# 4 embed, 5 score, 6 report: for each year; then the years side by side

# shellcheck disable=SC2034,SC2154  # options are read by name; some are the driver's
set -euo pipefail

# Options
# as in asd.sh: stage stop_stage
config=conf/zheng2025.yaml   # the experiment
# as in asd.sh: set tag score seeds
corpus=                      # holds a folder for each year (default: downloads/ of each year's recipe)
years=                       # to train on: --years "2022 2023" (default: those that are on disk or in --data)
score_years=                 # to score (default: those trained on)
overlap=refuse               # test clips of any year that lie in training: refuse, or drop them from training
datasets=                    # folder of <year>.yaml, dataset descriptions in place of those of the years' recipes
data=data                    # folder of the manifests: a folder for each year, and one for all of them
dump=dump                    # folder of the lists, likewise
expdir=exp                   # folder of the experiments: a folder for each choice of years
# as in asd.sh: cmd nj gpu nodes num_threads force dry_run
# End of options

here=$PWD
utils=$here/../../utils
first_stage=0 last_stage=6
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
for key in corpus datasets data dump expdir; do
    [[ -z ${!key} ]] || printf -v "$key" %s "$(realpath -m -- "${!key}")"
done

# Set REPLY to the folder of a year's recordings.
recordings() {
    REPLY=${corpus:+$corpus/$1}
    REPLY=${REPLY:-$here/../dcase$1/downloads}
}

# Set REPLY to a name for some years: 2020-2022_2024.
name_of() {
    local year last=
    REPLY=
    for year; do
        if ((year - ${last:-0} != 1)); then
            REPLY+=${REPLY:+_}$year
        else
            [[ $REPLY == *-"$last" ]] && REPLY=${REPLY%-*}
            REPLY+=-$year
        fi
        last=$year
    done
}

if [[ -z $years ]]; then
    for recipe in ../dcase20*; do
        year=${recipe#../dcase}
        recordings "$year"
        [[ ! -d $REPLY/dev_data && ! -d $REPLY/eval_data && ! -f $data/$year/dataset.yaml ]] || years+=" $year"
    done
    [[ -n $years ]] || die "no year's recordings: --corpus FOLDER holds folders 2020 ... with dev_data and eval_data in \
each, or ../dcase<year>/downloads do"
    ((stage > 0)) || die "stage 0 fetches the years that are named: --years \"2022 2023\""
fi
read -ra years <<<"$(xargs -n 1 <<<"$years" | sort -u | xargs)"
read -ra score_years <<<"$(xargs -n 1 <<<"${score_years:-${years[*]}}" | sort -u | xargs)"
for year in "${years[@]}" "${score_years[@]}"; do
    [[ $year =~ ^20[0-9]{2}$ && -f ../dcase$year/run.sh ]] || die "there is no recipe of the year '$year': egs/dcase$year"
done
[[ $overlap == refuse || $overlap == drop ]] || die "--overlap is refuse or drop, not '$overlap'"
name_of "${years[@]}"
joined=$data/$REPLY dump=$dump/$REPLY expdir=$expdir/$REPLY
[[ $joined != "$data/${years[0]}" ]] || die "one year alone is egs/dcase${years[0]}"
# The driver's own list: what is trained does not depend on these.
# shellcheck source=/dev/null
. <(sed -n '/^untagged=(/,/)$/p' "$utils/asd.sh")
# shellcheck source=utils/path.sh
. "$utils/path.sh"
# shellcheck source=utils/experiment.sh
. "$utils/experiment.sh"
[[ $dry_run == true ]] || check_python

ways=(--cmd "$cmd" --nj "$nj" --gpu "$gpu" --nodes "$nodes" --force "$force" --dry-run "$dry_run" --seeds "$seeds")
ways+=(${num_threads:+--num-threads "$num_threads"} ${score:+--score "$score"})
forced=()
[[ $force == false ]] || forced=(--force true)

# of FIRST LAST: whether any of these stages was asked for; sets part to them, as options.
of() {
    local first=$1 last=$2
    ((first >= stage)) || first=$stage
    ((last <= stop_stage)) || last=$stop_stage
    part=(--stage "$first" --stop-stage "$last")
    ((first <= last))
}

# run_year YEAR OPTIONS: the year's own recipe.
run_year() {
    [[ $dry_run == true ]] || echo "=== $1"
    bash "../dcase$1/run.sh" "${part[@]}" --data "$data/$1" "${ways[@]}" "${@:2}" &
    child=$!
    wait "$child" || die "stopped at the year $1"
    child=
}

read -ra all <<<"$(xargs -n 1 <<<"${years[*]} ${score_years[*]}" | sort -u | xargs)"
if of 0 1; then
    for year in "${all[@]}"; do
        described=()
        [[ ! -f ${datasets:-none}/$year.yaml ]] || described=(--dataset "$datasets/$year.yaml")
        recordings "$year"
        run_year "$year" --corpus "$REPLY" "${described[@]}"
    done
fi
if of 1 1; then
    lock_folder "$joined"
    [[ $dry_run == true ]] || echo "=== ${years[*]} as one"
    send "$joined/log/1.join_years.log" python3 -m asdkit.bin.join_years --data "$data" --years "${years[@]}" \
        --scored "${score_years[@]}" --out "$joined" --overlap "$overlap" "${forced[@]}" || die "stage 1 (data) failed"
    [[ $dry_run == true ]] || latest_run "$joined/log/1.join_years.log" | sed '/^#/d'
    free_folder
fi
if of 2 3; then
    bash "$utils/asd.sh" "${part[@]}" "${settings[@]}" --tag "$tag" --data "$joined" --dump "$dump" --expdir "$expdir" \
        "${ways[@]}" &
    child=$!
    wait "$child" || die "the training is not there"
    child=
fi
of 4 6 || exit 0
call python3 -m asdkit.bin.configure "${settings[@]}" --exp "$exp" --must-exist true "${forced[@]}" ||
    die "no year was scored"
for year in "${score_years[@]}"; do
    own=$expdir/$year/$tag
    lock_folder "$own"
    call python3 -m asdkit.bin.share_network --trained "$exp" --joined "$joined" --year "$year" --data "$data/$year" \
        --exp "$own" "${forced[@]}" || die "stopped at the year $year"
    free_folder
    run_year "$year" --config "$own/config.yaml" --tag "$tag" --dump "$dump/$year" --expdir "$expdir/$year"
done
of 6 6 || exit 0
found=()
for year in "${score_years[@]}"; do found+=("$year=$expdir/$year/$tag"); done
call python3 -m asdkit.bin.report_years --exp "$exp" --years "${found[@]}" || die "no table"
[[ $dry_run == true ]] || echo "== years: $exp/YEARS.md"
