# shellcheck shell=bash
# Sourced by the job wrappers run_local.sh and run_slurm.sh: what they have in common.
# After utils/parse_options.sh, for die.

# Read `[JOB=1:N | JOB=A,B,...] LOG PROGRAM ARGS...` into jobs (numbers; one empty word when it is no array),
# log and command; make the logs' folders and remove old logs, whose last line must not be taken for a new one.
read_job() {
    jobs=("")
    if [[ ${1-} == JOB=* ]]; then
        if [[ $1 =~ ^JOB=([0-9]+):([0-9]+)$ ]] && ((BASH_REMATCH[1] <= BASH_REMATCH[2])); then
            mapfile -t jobs < <(seq "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")
        elif [[ $1 =~ ^JOB=[0-9]+(,[0-9]+)*$ ]]; then
            IFS=, read -ra jobs <<<"${1#JOB=}"
        else
            die "'$1' is neither JOB=1:N (N at least 1) nor JOB=A,B,..."
        fi
        shift
    fi
    (($# >= 2)) || die "got no LOG and PROGRAM after the options; see --help"
    log=$1
    command=("${@:2}")
    local job
    for job in "${jobs[@]}"; do
        put_job "$log" "$job"
        mkdir -p -- "$(dirname -- "$REPLY")"
        rm -f -- "$REPLY"
    done
}

# Set REPLY to the text with the job's number for JOB; JOB beside a capital letter (JOBS) is another word.
put_job() {
    local rest=$1
    REPLY=
    while [[ -n $2 && $rest == *JOB* ]]; do
        REPLY+=${rest%%JOB*}
        rest=${rest#*JOB}
        if [[ $REPLY == *[[:upper:]] || $rest == [[:upper:]]* ]]; then REPLY+=JOB; else REPLY+=$2; fi
    done
    REPLY+=$rest
}

# Run one job: log and output go to its log, which starts with the command and ends in `# ended code C, S s`.
run_job() {
    local job=$1 job_log word words=() code=0
    put_job "$log" "$job"
    job_log=$REPLY
    for word in "${command[@]}"; do
        put_job "$word" "$job"
        words+=("$REPLY")
    done
    SECONDS=0
    # shellcheck disable=SC2094
    {
        printf '#%s\n' "$(printf ' %q' "${words[@]}")"
        printf '# started at %s on %s, %s threads\n' "$(date '+%F %T')" "$(uname -n)" "${OMP_NUM_THREADS-}"
        "${words[@]}" </dev/null || code=$?
        # The last line begins on a line of its own.
        [[ -z $(tail -c 1 -- "$job_log") ]] || echo
        printf '# ended code %d, %d s\n' "$code" "$SECONDS"
    } >"$job_log" 2>&1
    return "$code"
}

has_ended() {
    [[ -e $1 && $(tail -n 1 -- "$1") == "# ended code $2"* ]]
}

# Judge the jobs by their logs' last lines: 1 when any failed, naming the failed logs and showing the end of the first.
report_jobs() {
    local job failed=() job_log
    for job in "${jobs[@]}"; do
        put_job "$log" "$job"
        has_ended "$REPLY" "0," || failed+=("$REPLY")
    done
    ((${#failed[@]})) || return 0
    {
        printf '%s: %d / %d failed:\n' "${0##*/}" "${#failed[@]}" "${#jobs[@]}"
        for job_log in "${failed[@]}"; do
            if [[ ! -e $job_log ]]; then
                echo "  $job_log (never started)"
            elif has_ended "$job_log" ""; then
                echo "  $job_log"
            else
                echo "  $job_log (killed: the log has no '# ended' line)"
            fi
        done
        echo "End of ${failed[0]}:"
        [[ ! -e ${failed[0]} ]] || tail -n 15 -- "${failed[0]}" | sed 's/^/    /'
    } >&2
    return 1
}
