# shellcheck shell=bash
# Sourced by a script with the options stage, stop_stage, config, set, tag, expdir, cmd and gpu, after
# utils/parse_options.sh, with the words left in "$@" and the script's stages in first_stage and last_stage:
# checks these options and sets
#     tag          the experiment's name, if none was given
#     exp          its folder
#     settings     its configuration, as options of a program
#     cmd_words    what runs the programs
# shellcheck disable=SC2034,SC2154

(($# == 0)) || die "unexpected word '$1'; --help lists all options"
for key in stage stop_stage; do
    [[ ${!key} =~ ^[$first_stage-$last_stage]$ ]] ||
        die "--${key//_/-} is a number from $first_stage to $last_stage, not '${!key}'"
done
((stage <= stop_stage)) || die "--stage $stage comes after --stop-stage $stop_stage"
[[ $gpu =~ ^[0-9]+$ ]] || die "--gpu is a number from 0, not '$gpu'"

read -ra cmd_words <<<"$cmd"
if [[ -f $utils/${cmd_words[0]-} ]]; then
    cmd_words[0]=$utils/${cmd_words[0]}
elif ! command -v "${cmd_words[0]-}" >/dev/null; then
    die "--cmd '$cmd': no such program; utils has run_local.sh and run_slurm.sh"
fi

if [[ -z $tag ]]; then
    tag=$(basename "$config" .yaml)
    for change in "${set[@]}"; do tag+=_${change//[^[:alnum:].+-]/_}; done
fi
[[ $tag =~ ^[[:alnum:]][[:alnum:]._+-]{0,199}$ ]] ||
    die "--tag '$tag' has to be a folder's name: up to 200 letters, digits, . _ + -"
exp=$expdir/$tag

# lock_folder FOLDER: take it for this run and the jobs that it starts, which hold it even when the run is killed;
# sets lock, whose closing gives the folder free.
lock_folder() {
    mkdir -p -- "$1"
    exec {lock}>>"$1/.lock"
    if ! flock --nonblock "$lock"; then
        echo "== waiting for another run with $1, or a job that a killed one left; 'fuser $1/.lock' names its process"
        flock "$lock"
    fi
}

settings=(--config "$config")
for change in "${set[@]}"; do settings+=(--set "$change"); done
