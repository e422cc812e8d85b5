#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, to try job scripts and to test with: partition `main`, loopback only.
#     slurm_one_node.sh start [NODES]|stop|status
# With `start 2` the machine plays two nodes, each with all of its cores and memory: for jobs over several nodes.
# Needs root and Debian's or Ubuntu's packages slurm-wlm and munge. Everything it writes is in its own folder,
# ASDKIT_SLURM_DIR (default /tmp/asdkit-slurm-<user id>). After `start`: . <folder>/env
set -euo pipefail

dir=${ASDKIT_SLURM_DIR:-/tmp/asdkit-slurm-$UID}
node=$(uname -n)
node=${node%%.*}
first_port=6828
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$dir/slurm.conf

die() {
    echo "slurm_one_node.sh: $1" >&2
    exit 1
}

# Who can write to the folder has a program of his run as root.
[[ ! -e $dir && ! -L $dir ]] || [[ -O $dir && $(stat -c %A "$dir") == d????-??-? ]] ||
    die "$dir is another user's, or others can write to it: remove it, or name another folder in ASDKIT_SLURM_DIR"

check() {
    local program
    for program in munged slurmctld slurmd sinfo; do
        command -v "$program" >/dev/null || die "no $program: apt-get install slurm-wlm munge"
    done
    ((EUID == 0)) || die "needs root: Slurm's daemons start jobs for their users"
    [[ $dir != *[[:space:]]* ]] || die "ASDKIT_SLURM_DIR must be a path without spaces, not '$dir'"
}

# write_settings NODES
write_settings() {
    local one port=$first_port cores memory # of the machine in MiB: a job may ask for as much
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which it would tell in their place
    memory=$(slurmd -C | sed -n 's/.* RealMemory=\([0-9]*\).*/RealMemory=\1/p')
    [[ -d $dir ]] || mkdir -m 755 "$dir"
    mkdir -p "$dir"/{munge,state,spool,log}
    chmod 755 "$dir/munge"
    [[ -s $dir/munge/key ]] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
    cat >"$SLURM_CONF" <<END
ClusterName=asdkit
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=6827
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
END
    for one in "$@"; do
        echo "NodeName=$one NodeHostname=$node NodeAddr=127.0.0.1 Port=$((port++)) CPUs=$cores $memory State=UNKNOWN"
    done >>"$SLURM_CONF"
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$SLURM_CONF"
    printf 'export SLURM_CONF=%q\n' "$SLURM_CONF" >"$dir/env"
}

# The states of the nodes, one a line.
state() {
    timeout 10 sinfo --noheader --Node --partition main --format %T 2>/dev/null
}

is_up() {
    local states
    states=$(state) && [[ -n $states ]] && ! grep -qvE '^(idle|mixed|allocated)' <<<"$states"
}

# is_running PROGRAM PID_FILE
is_running() {
    local pid
    pid=$(cat "$2" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]]
}

start() {
    local count=${1-1} nodes=("$node") number tries
    [[ $count =~ ^[1-9]$ ]] || die "start takes a number of nodes from 1 to 9, not '$count'"
    for ((number = 2; number <= count; number++)); do nodes+=("$node-$number"); done
    check
    if ! is_up; then
        stop
        write_settings "${nodes[@]}"
        munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munged.pid" \
            --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed" --num-threads=2
        slurmctld
        for number in "${nodes[@]}"; do
            mkdir -p "$dir/spool/$number"
            slurmd -N "$number"
        done
        for ((tries = 0; tries < 60; tries++)); do
            is_up && break
            sleep 0.5
        done
        is_up || die "the cluster did not come up within 30 s: $(state || true) $(tail -n 5 "$dir"/log/*.log)"
    fi
    (($(state | wc -l) == count)) || die "it runs with $(state | wc -l) node(s): stop it first"
    echo "Slurm is up: node ${nodes[*]}, partition main. Before you use it:"
    echo "    . $dir/env"
}

# The daemons that the folder's pid files name, jobs first.
stop() {
    local daemon file tries
    [[ ! -e $SLURM_CONF ]] || ! is_running slurmctld "$dir/slurmctld.pid" ||
        timeout 10 scancel --partition main 2>/dev/null || true
    for daemon in slurmd slurmctld munged; do
        for file in "$dir/$daemon"*.pid; do
            is_running "$daemon" "$file" || continue
            kill "$(<"$file")"
            for ((tries = 0; tries < 100; tries++)); do
                is_running "$daemon" "$file" || break
                sleep 0.1
            done
        done
    done
}

case ${1-} in
    start) start "${@:2}" ;;
    stop)
        stop
        rm -rf "$dir"/{munge,state,spool,log,slurm.conf,env}
        [[ ! -d $dir ]] || rmdir --ignore-fail-on-non-empty "$dir"
        echo "Slurm is stopped"
        ;;
    status)
        is_up || die "not running; start it with: slurm_one_node.sh start"
        sinfo
        ;;
    *) die "say start, stop or status, not '${1-}'" ;;
esac
