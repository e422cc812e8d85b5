# shellcheck shell=bash
# Sourced by a script with the options stage, stop_stage, config, set, tag, expdir, cmd, gpu and perhaps nodes, after
# utils/parse_options.sh, with the words left in "$@", the script's stages in first_stage and last_stage, and the settings
# that make no other experiment in untagged: checks these options and sets
#     tag          the experiment's name, if none was given
#     exp          its folder
#     settings     its configuration, as options of a program
#     cmd_words    what runs the programs
#     train_gpu    what a training asks of it, by the options gpu and nodes (none: one)
#     train_python what runs a training: torchrun, where it has several processes
# shellcheck disable=SC2034,SC2154

# shellcheck source=utils/jobs.sh
. "$utils/jobs.sh"
(($# == 0)) || die "unexpected word '$1'; --help lists all options"
for key in stage stop_stage; do
    [[ ${!key} =~ ^[$first_stage-$last_stage]$ ]] ||
        die "--${key//_/-} is a number from $first_stage to $last_stage, not '${!key}'"
done
((stage <= stop_stage)) || die "--stage $stage comes after --stop-stage $stop_stage"
[[ $gpu =~ ^[0-9]+$ ]] || die "--gpu is a number from 0, not '$gpu'"

[[ ${nodes=1} =~ ^[1-9][0-9]*$ ]] || die "--nodes is a number from 1, not '$nodes'"
train_gpu=() train_python=(python3 -m)
((gpu == 0)) || train_gpu=(--gpu "$gpu")
if ((nodes > 1)); then
    train_gpu+=(--nodes "$nodes")
    train_python+=(torch.distributed.run --nnodes "$nodes" --nproc-per-node $((gpu > 1 ? gpu : 1)) -m)
elif ((gpu > 1)); then
    train_python+=(torch.distributed.run --standalone --nproc-per-node "$gpu" -m)
fi

split_words "$cmd"
cmd_words=("${words[@]}")
[[ " ${words[*]}" != *" --nodes"* ]] || die "--cmd '$cmd': --nodes is an option of run.sh, for the training alone"
if [[ -f $utils/${cmd_words[0]-} ]]; then
    cmd_words[0]=$utils/${cmd_words[0]}
elif ! command -v "${cmd_words[0]-}" >/dev/null; then
    die "--cmd '$cmd': no such program; utils has run_local.sh and run_slurm.sh"
fi

if [[ -z $tag ]]; then
    tag=$(basename "$config" .yaml)
    for change in "${set[@]}"; do
        for key in "${untagged[@]}"; do [[ $change != "$key"[.=]* ]] || continue 2; done
        tag+=_${change//[^[:alnum:].+-]/_}
    done
fi
[[ $tag =~ ^[[:alnum:]][[:alnum:]._+-]{0,199}$ ]] ||
    die "--tag '$tag' has to be a folder's name: up to 200 letters, digits, . _ + -"
exp=$expdir/$tag

child=
stop() {
    trap '' INT TERM HUP
    [[ -z $child ]] || { kill -TERM "$child" 2>/dev/null && wait "$child"; } || true
    echo "${option_file##*/}: stopped" >&2
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

# call WORDS: run a command, or print it in a dry run.
call() {
    if [[ ${dry_run-} == true ]]; then
        printf '%q' "$1" && printf ' %q' "${@:2}" && echo
        return
    fi
    "$@" &
    child=$!
    wait "$child" || return
    child=
}

# send [options of $cmd] [JOB=...] LOG PROGRAM ARGS: say where the log is (as a word for the shell, where there are
# several), and run the program through $cmd. Options in --cmd come after these, and so win.
send() {
    local options=() array=() numbers
    while [[ $1 == --* ]]; do
        options+=("$1" "$2")
        shift 2
    done
    [[ $1 != JOB=* ]] || { array=("$1") && shift; }
    numbers=${array[*]#JOB=}
    [[ $numbers != *[:,]* ]] || numbers="{${numbers/:/..}}"
    put_job "$1" "$numbers"
    [[ ${dry_run-} == true ]] || echo "   log: $REPLY"
    call "${cmd_words[0]}" "${options[@]}" "${cmd_words[@]:1}" "${array[@]}" "$@"
}

# shellcheck source=utils/locks.sh
. "$utils/locks.sh"

settings=(--config "$config")
for change in "${set[@]}"; do settings+=(--set "$change"); done
