# shellcheck shell=bash
# Sourced by run_slurm.sh: what a site's file of options says, and what a job does on its node. The latter is written into
# the job's script, so it uses nothing of this machine; there, nodes and the job's log are set.
# shellcheck disable=SC2154

# read_site FILE: set site to the options in it; `gpu:` and `cpu:` lines hold for jobs with or without GPUs.
read_site() {
    local text kind=cpu
    [[ $gpu == 0 ]] || kind=gpu
    site=()
    [[ -r $1 ]] || die "ASDKIT_SLURM_OPTS names '$1', which cannot be read"
    while IFS= read -r text || [[ -n $text ]]; do
        [[ ! $text =~ ^[[:space:]]*(#|$) ]] || continue
        if [[ $text =~ ^[[:space:]]*(gpu|cpu):(.*)$ ]]; then
            [[ ${BASH_REMATCH[1]} == "$kind" ]] || continue
            text=${BASH_REMATCH[2]}
        fi
        split_words "$text"
        site+=("${words[@]}")
    done <"$1"
}

# Run the words of a job, on each of its nodes, and wait. SIGUSR1 (--requeue) and SIGTERM from Slurm are noted in `asked`
# and do not end this shell: the program may have a checkpoint to write.
run_words() {
    local code=0 again
    export ASDKIT_STOPPED=$job_log.stopped
    rm -f -- "$ASDKIT_STOPPED"
    if ((nodes == 1)); then
        "$@" </dev/null &
    else
        # torchrun takes PET_<OPTION> for an option that it was not given.
        PET_MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
        PET_MASTER_PORT=$(python3 -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')
        export PET_MASTER_ADDR PET_MASTER_PORT
        # A program that fails waits a second: Slurm (22.05) ends the step at once and loses its last words. The trap lets
        # the shell outlive a signal that its program is given too.
        # shellcheck disable=SC2016
        srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 \
            ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
            bash -c 'trap : TERM INT; PET_NODE_RANK=$SLURM_NODEID "$@" || { code=$?; sleep 1; exit "$code"; }' - "$@" \
            </dev/null &
    fi
    pid=$!
    wait "$pid" || code=$?
    while [[ -n $heard ]]; do # a signal ends bash's wait, not the program
        heard='' again=0
        wait "$pid" || again=$?
        ((again == 127)) || code=$again
    done
    return "$code"
}

# Slurm sends SIGTERM to all processes of a job; --requeue's signal goes to this shell alone.
hear() {
    heard=$1 asked=$1
    [[ $1 == USR1 && -n ${pid-} ]] || return 0
    if ((nodes == 1)); then kill -TERM "$pid"; else scancel --signal=TERM "$SLURM_JOB_ID.0"; fi 2>/dev/null || true
}

# end_line_of CODE: how the run of a job ended. One that Slurm ended, and may run again, has no end yet.
end_line_of() {
    local line="# ended code $1, $SECONDS s"
    if [[ $1 != 0 && $asked == TERM ]]; then
        line="# stopped by Slurm, $SECONDS s"
    elif [[ $1 != 0 && $asked == USR1 && -e $ASDKIT_STOPPED ]]; then
        echo "# stopped before the time limit, to be queued again, $SECONDS s"
        rm -f -- "$ASDKIT_STOPPED"
        # Slurm ends this job's processes then, and scontrol may be one of them.
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && return
        (($? <= 128)) || return 0
    fi
    rm -f -- "$ASDKIT_STOPPED"
    echo "$line"
}
