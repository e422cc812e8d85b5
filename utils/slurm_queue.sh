# shellcheck shell=bash
# Sourced by run_slurm.sh: how its jobs get into the queue, and what Slurm says of them. They are sent in parts where the
# cluster takes no array of all, or not yet; all parts have the same name.
#     jobs, left   all jobs, and those whose logs have not ended
#     sent, places how many were sent, and what Slurm calls each: 12_3
#     size         jobs of a part at most
#     refused      why sbatch took no more the last time
#     unsure       jobs of a part of which sbatch did not say whether it was taken
#     seconds      since the beginning; nothing is sent before `again`
# shellcheck disable=SC2034,SC2154

sent=0 places=() seconds=0 again=0 pause=5 refused='' unsure='' lost=false sbatch_pid=

# say TEXT: a line of its own above the one that moves.
say() {
    end_line
    echo "$1"
    told=
    begin_line
}

later() {
    ((again = seconds + pause, pause = pause < 30 ? 2 * pause : 60))
}

# part_size: set REPLY to how many jobs may be sent now; 1 for none.
part_size() {
    local left_over=$((${#jobs[@]} - sent)) busy
    busy=$((${#left[@]} - left_over))
    [[ $lost == false ]] || busy=0 # killed, so that their logs have no end
    REPLY=$((left_over < size ? left_over : size))
    if [[ -n $max_jobs_run ]] && ((busy > 0)); then
        # The limit of each part is one of its own.
        ((size < max_jobs_run && busy < max_jobs_run)) || return
        ((busy + REPLY <= max_jobs_run)) || REPLY=$((max_jobs_run - busy))
    fi
    if [[ -n $max_submit ]] && ((busy + REPLY > max_submit)); then
        ((2 * busy <= max_submit)) || return
        REPLY=$((max_submit - busy))
    fi
}

# Send a part of the jobs, where it is time and there is room. Ends the program when sbatch refuses for good.
send_part() {
    local count words id='' answer=$folder/.slurm-${name}_sbatch.out error=$folder/.slurm-${name}_error.out
    ((sent < ${#jobs[@]} && seconds >= again)) || return 0
    if [[ -n $unsure ]]; then
        find_part || {
            later
            return 0
        }
        count=$unsure unsure=
        [[ -z $REPLY ]] || {
            took "$REPLY" "$count"
            return
        }
    fi
    part_size || return 0
    count=$REPLY
    # Not waited for by bash alone, which hears no signal then: sbatch may try for two minutes.
    sbatch "--array=1-$count${max_jobs_run:+%$max_jobs_run}" "${options[@]}" \
        < <(task_script "$count") >"$answer" 2>"$error" &
    sbatch_pid=$!
    wait "$sbatch_pid" || {
        sbatch_pid=
        refuse "$count" "$(cat -- "$error")"
        return
    }
    sbatch_pid=
    cat -- "$error" >&2
    while IFS= read -r words; do # a site's sbatch may say more than the id
        [[ ! $words =~ ^(Submitted batch job )?([0-9]+)(;.*| on cluster .*)?$ ]] || id=${BASH_REMATCH[2]}
    done <"$answer"
    [[ -n $id ]] || {
        echo "run_slurm.sh: sbatch named no job; it said:" >&2
        cat -- "$answer" >&2
        stop 1
    }
    rm -f -- "$answer" "$error"
    took "$id" "$count"
}

# took ID COUNT: a part is in the queue.
took() {
    local task
    say "   job: $1 ($name)"
    for ((task = 1; task <= $2; task++)); do places+=("${1}_$task"); done
    # Parts that were halved to find room grow again.
    ((sent += $2, pause = 5, size = 2 * size < most ? 2 * size : most))
    refused='' lost=false
}

# refuse COUNT TEXT: what follows from an sbatch that failed with these words: another try later, or the end.
refuse() {
    local before=$refused full="(QOS|Assoc)[A-Za-z]*Submit[A-Za-z]*Limit|queue full|[Tt]ry again|temporarily unavailable"
    # The second where the controller did not say its MaxArraySize before.
    if [[ $2 =~ $full || ($1 -gt 1 && $2 =~ Invalid\ job\ array) ]]; then
        refused=${BASH_REMATCH[0]}
        # An array above the limit never fits; one below it may have room in part.
        if (($1 > 1)); then size=$((($1 + 1) / 2)); else later; fi
    elif [[ $2 =~ (Unable to contact slurm controller|Socket timed out|Zero Bytes|standby mode) ]]; then
        # A controller in a hurry may take a job and not say so.
        refused=${BASH_REMATCH[0]} unsure=$1
        later
    else
        printf '%s\n' "$2" >&2
        ((sent == 0)) || {
            echo "run_slurm.sh: sbatch took the first $sent of ${#jobs[@]} jobs and not the next" >&2
            stop 1
        }
        queued "$name" || forget
        die "sbatch did not take the job: sbatch ${options[*]}"
    fi
    [[ $refused == "$before" ]] ||
        say "run_slurm.sh: sbatch takes no more now ($refused): waiting, $((${#jobs[@]} - sent)) of ${#jobs[@]} to be sent" >&2
}

# find_part: set REPLY to the id of a part that was taken and not named, or to nothing; 1 when Slurm does not answer.
find_part() {
    local id ids
    REPLY=
    ids=$(timeout 60 squeue --noheader --name "$name" --states all --format %F 2>/dev/null) || return
    for id in $ids; do [[ " ${places[*]-}" == *" ${id}_"* ]] || REPLY=$id; done
}

# Drop the jobs whose logs have ended from `left`.
look() {
    local job still=()
    for job in "${left[@]}"; do
        put_job "$log" "$job"
        has_ended "$REPLY" "" || still+=("$job")
    done
    left=("${still[@]}")
}

# What Slurm says of tasks that it has no more in its queue and whose logs have no end yet, into verdict: `FAILED 3:0` is
# a state, an exit code and a signal. Sets patience: seconds to wait for these ends.
ask_slurm() {
    local i said late=false known=true
    for i in "${!places[@]}"; do
        put_job "$log" "${jobs[i]}"
        ! has_ended "$REPLY" "" || continue
        said=$(scontrol --oneliner show job "${places[i]}" 2>/dev/null |
            sed -n 's/.* JobState=\([A-Z_]*\).* ExitCode=\([0-9:]*\).*/\1 \2/p' || true)
        [[ -n $said ]] || said=$(sacct --noheader --parsable2 --allocations --format=State,ExitCode \
            --jobs "${places[i]}" 2>/dev/null | sed -n '1s/^\([A-Z_]*\).*|/\1 /p' || true)
        [[ -z $said ]] && known=false || verdict[${jobs[i]:-none}]=$said
        [[ ! $said =~ ^(RUNNING|PENDING|CONFIGURING|COMPLETING) ]] || gone=
        # The job's own shell has ended, so there is a last line to come.
        [[ ! $said =~ ^(COMPLETED|FAILED\ [0-9]+:0) ]] || late=true
    done
    if [[ $late == true ]]; then patience=300; elif [[ $known == false ]]; then patience=90; else patience=10; fi
}
