#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A Slurm cluster of N virtual nodes on loopback, for tests. Needs no cgroups, no systemd, no root
# (as an ordinary user all jobs run as that user). Touches nothing outside DIR. Own munge key, own
# ports.
#
#   cluster.sh start DIR [N]     up and idle, or exit 1 with the logs' ends; N nodes (3), each with
#                                2 cpus, 4000 MB, 2 "gpus"
#   cluster.sh stop DIR          jobs, daemons and orphans of this DIR end; DIR stays (remove it yourself)
#   cluster.sh env DIR           prints exports for the client commands, for eval
#   cluster.sh pid DIR WHAT      pid of ctld, munged, n1, n2 ...
#   cluster.sh kill DIR WHAT [SIG]   one daemon only (its job steps live on)
#   cluster.sh crash DIR NODE    a node that loses power: slurmd, its slurmstepds and all their processes, SIGKILL
#   cluster.sh up DIR WHAT       start that daemon again
#
# Knobs (environment, at start): SLURMD_TIMEOUT (10 s), KILL_WAIT (5 s), SLURM_EXTRA (lines for
# slurm.conf), AUTH=none.
set -u
me=$0
die() { echo "cluster.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || { sed -n '3,19p' "$0"; exit 2; }
verb=$1
mkdir -p "$2" && dir=$(cd "$2" && pwd) || exit 1
conf=$dir/slurm.conf
PATH=$PATH:/usr/sbin:/sbin

free_port() { # a run of $1 ports that nobody listens at
    local n=$1 base i try
    for try in $(seq 50); do
        base=$((20000 + (RANDOM * 7 + $$ + try) % 12000))  # below ip_local_port_range
        for i in $(seq 0 $((n - 1))); do
            (exec 3<>/dev/tcp/127.0.0.1/$((base + i))) 2>/dev/null && continue 2
        done
        echo $base; return 0
    done
    return 1
}

write_conf() {
    local n=$1 base user host auth
    user=$(id -un) host=$(hostname -s)
    base=$(free_port $((n + 1))) || die "no free ports"
    if [ "${AUTH:-munge}" = none ]; then auth=$'AuthType=auth/none\nCredType=cred/none'
    else auth=$'AuthType=auth/munge\nCredType=cred/munge\nAuthInfo=socket='$dir/munge.socket; fi
    cat >"$conf" <<CONF
ClusterName=qtest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
$auth
SlurmUser=$user
SlurmdUser=$user
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/ctld.slurm.pid
SlurmdPidFile=$dir/%n.slurm.pid
SlurmctldLogFile=$dir/ctld.log
SlurmdLogFile=$dir/%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
# nothing that needs cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
PlugStackConfig=$dir/plugstack.conf
# what the nodes say they have, whatever this machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
# fast enough for a test
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SlurmdTimeout=${SLURMD_TIMEOUT:-10}
SlurmctldTimeout=10
MessageTimeout=5
KillWait=${KILL_WAIT:-5}
UnkillableStepTimeout=20
MinJobAge=60
InactiveLimit=0
ReturnToService=2
JobRequeue=1
# preemption: partition low is requeued for high
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# no database: sacct has nothing; the ends of jobs are lines of a file
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobcomp.txt
${SLURM_EXTRA:-}
NodeName=n[1-$n] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + n))] \\
    CPUs=2 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO \\
    PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100
CONF
    : >"$dir/plugstack.conf"
    # Slurm 22.05 takes no gpu without File. Any file whose name ends with a number will do.
    : >"$dir/gpu0"; : >"$dir/gpu1"
    echo "NodeName=n[1-$n] Name=gpu ${GRES_LINE:-File=$dir/gpu[0-1]}" >"$dir/gres.conf"
    echo "CgroupMountpoint=/sys/fs/cgroup" >"$dir/cgroup.conf"
    echo "$n" >"$dir/nodes"
}

alive() {
    [ -s "$dir/$1.pid" ] && kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null &&
        ! grep -q '^State:.Z' /proc/"$(cat "$dir/$1.pid")"/status
}

up() { # one daemon, in the foreground of its own session, so that $! is its pid
    local what=$1
    alive "$what" && return 0
    case $what in
    munged) set -- munged --foreground --socket="$dir/munge.socket" --key-file="$dir/munge.key" \
        --pid-file="$dir/munged.slurm.pid" --log-file="$dir/munged.log" \
        --seed-file="$dir/munged.seed" --num-threads=2 ;;
    ctld) set -- slurmctld -D -f "$conf" ;;
    n[0-9]*) set -- slurmd -D -N "$what" -f "$conf" ;;
    *) die "no daemon '$what'" ;;
    esac
    env SLURM_CONF="$conf" setsid "$@" </dev/null >>"$dir/$what.out" 2>&1 &
    echo $! >"$dir/$what.pid"
    disown
}

down() { # SIG to one daemon, wait for its end
    local what=$1 sig=${2:-TERM} pid i
    alive "$what" || { rm -f "$dir/$what.pid"; return 0; }
    pid=$(cat "$dir/$what.pid")
    kill -"$sig" "$pid" 2>/dev/null
    for i in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || break
        grep -q '^State:.Z' /proc/"$pid"/status 2>/dev/null && break
        [ "$i" = 40 ] && kill -KILL "$pid" 2>/dev/null
        sleep 0.1
    done
    rm -f "$dir/$what.pid"
}

descendants() { # of the pids given, them included
    local all="$*" more="$*" p
    while [ -n "${more// /}" ]; do
        more=$(for p in $more; do cat /proc/"$p"/task/*/children 2>/dev/null; done | tr '\n' ' ')
        all="$all $more"
    done
    echo $all
}

stepds() { # slurmstepds of this cluster, of node $1 (empty: of all): by their environment and their log
    local p c
    for p in /proc/[0-9]*; do
        read -r c 2>/dev/null <"$p/comm" && [ "$c" = slurmstepd ] || continue
        grep -qzxF "SLURM_CONF=$conf" "$p/environ" 2>/dev/null || continue
        [ -z "${1:-}" ] || ls -l "$p/fd" 2>/dev/null | grep -qF -- "-> $dir/$1.log" || continue
        echo "${p#/proc/}"
    done
}

client() { env SLURM_CONF="$conf" "$@"; }

wait_idle() {
    local n=$1 i
    for i in $(seq 150); do
        [ "$(client timeout 5 sinfo -h -N -p batch -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$n" ] && return 0
        sleep 0.1
    done
    return 1
}

case $verb in
start)
    n=${3:-3}
    [ -e "$dir/nodes" ] && alive ctld && die "already up: $dir"
    chmod 755 "$dir"
    mkdir -p "$dir/state"; for i in $(seq "$n"); do mkdir -p "$dir/spool.n$i"; done
    write_conf "$n"
    if [ "${AUTH:-munge}" != none ]; then
        (umask 077; head -c 128 /dev/urandom >"$dir/munge.key")
        up munged
        for i in $(seq 50); do [ -S "$dir/munge.socket" ] && break; sleep 0.05; done
    fi
    up ctld
    for i in $(seq "$n"); do up "n$i"; done
    if ! wait_idle "$n"; then
        tail -n 15 "$dir"/*.out "$dir"/*.log >&2
        "$me" stop "$dir"
        die "did not come up"
    fi ;;
env)
    echo "export SLURM_CONF='$conf'" ;;
pid) cat "$dir/$3.pid" ;;
kill) down "$3" "${4:-KILL}" ;;
up) up "$3" ;;
crash)
    victims=$(descendants $(stepds "$3"))
    kill -KILL "$(cat "$dir/$3.pid")" $victims 2>/dev/null
    rm -f "$dir/$3.pid" ;;
stop)
    if alive ctld; then
        client timeout 5 scancel -f -s KILL --me >/dev/null 2>&1 ||
            client timeout 5 scancel -u "$(id -un)" >/dev/null 2>&1
        for i in $(seq 30); do [ -z "$(client timeout 2 squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
    fi
    for i in $(seq "$(cat "$dir/nodes" 2>/dev/null || echo 0)"); do down "n$i" & done
    wait
    down ctld
    left=$(descendants $(stepds))
    [ -z "$left" ] || kill -KILL $left 2>/dev/null
    down munged ;;
*) die "unknown verb '$verb'" ;;
esac
