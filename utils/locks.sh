# shellcheck shell=bash
# Sourced by the drivers through utils/experiment.sh, after utils/jobs.sh: folders that one run has at a time.

# The folders that this run has, one a line, for run_slurm.sh.
export ASDKIT_LOCKED=

# lock_folder FOLDER: take it for this run and the jobs that it starts, which keep it even when the run is killed. Jobs on
# this machine inherit the lock. Those of a cluster cannot: run_slurm.sh leaves their names in FOLDER/.jobs, and Slurm is
# asked for them. free_folder gives up what was taken last.
lock_folder() {
    local taken=false seconds=0 why said='' holder='' seen='' looks=0
    [[ ${dry_run-} != true ]] || return 0
    mkdir -p -- "$1"
    exec {lock}>>"$1/.lock"
    while :; do
        [[ $taken == true ]] || ! take "$1" "$seconds" || taken=true
        left_jobs "$1" "$taken"
        [[ $taken == false || -n $REPLY ]] || break
        why="jobs of a killed run with $1"
        [[ $taken == true ]] || why="another run with $1, or a job that a killed one left; $holder"
        why+=${REPLY:+; Slurm: $REPLY}
        [[ $why == "$said" ]] || echo "== waiting for $why"
        said=$why
        ((seconds == 10)) || ((seconds += 1))
        [[ $taken == false ]] || sleep "$seconds"
    done
    ASDKIT_LOCKED+=$'\n'$1
}

free_folder() {
    [[ ${dry_run-} != true ]] || return 0
    exec {lock}>&-
    ASDKIT_LOCKED=${ASDKIT_LOCKED%$'\n'*}
}

# take FOLDER SECONDS: whether the folder could be locked within this time; sets holder to how to find who has it.
take() {
    local code=0
    holder="'fuser $1/.lock' names its process"
    flock --timeout "$2" "$lock" 2>/dev/null || code=$?
    ((code > 1)) || return "$code"
    # 1 says that another has it; anything else that there are no locks here, as on some network file systems.
    take_file "$1/.lock.held" && return
    sleep "$2"
    return 1
}

# take_file FILE: lock by making FILE. It names the host and number of a process that touches it while anyone lives who
# has inherited the end of its pipe, `lock`, and removes it after that. A file whose process is no more, or that was not
# touched between forty looks (six minutes), is taken over.
take_file() {
    local mine text
    mine="$(uname -n) $$"
    if (set -o noclobber && echo "$mine" >"$1") 2>/dev/null; then
        exec {lock}>&-
        exec {lock}> >(keep_file "$1")
        return 0
    fi
    text=$(cat -- "$1" 2>/dev/null) || return 1
    holder="process ${text#* } on ${text%% *} (when it runs no more: rm $1)"
    if [[ ${text% *} != "${mine% *}" || -e /proc/${text##* } ]]; then
        mine="$text $(stat -c %Y -- "$1" 2>/dev/null)"
        [[ $mine == "$seen" ]] && ((looks += 1)) || looks=0
        seen=$mine
        ((looks >= 40)) || return 1
    fi
    # Of several that find it so one moves it away; a lock that was new is put back.
    mv -- "$1" "$1.$$" 2>/dev/null || return 1
    if [[ $(cat -- "$1.$$") != "$text" ]]; then
        mv -n -- "$1.$$" "$1"
        return 1
    fi
    rm -- "$1.$$"
    take_file "$1"
}

keep_file() {
    local text code
    text="$(uname -n) $BASHPID"
    trap '' INT TERM HUP TSTP
    echo "$text" >"$1"
    while code=0 && { read -r -t 20 || code=$?; } && ((code > 128)); do touch -c -- "$1"; done
    [[ $(cat -- "$1") != "$text" ]] || rm -- "$1"
}

# left_jobs FOLDER TAKEN: set REPLY to what Slurm has of the jobs named in FOLDER/.jobs; names of jobs that have ended are
# removed, but not under another run.
left_jobs() {
    local record all=
    for record in "$1"/.jobs/*; do
        [[ -e $record ]] || continue
        if ! command -v squeue >/dev/null; then
            [[ $2 == false ]] || die "a job of a killed run may still write to $1, and there is no squeue here to ask: \
start this where Slurm answers, or, when no such job runs any more, remove $record"
        elif queued "$(basename -- "$record")"; then
            all+=${all:+, }$REPLY
        elif [[ $2 == true ]]; then
            rm -f -- "$record"
        fi
    done
    REPLY=$all
}
