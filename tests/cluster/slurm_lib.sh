# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# A real Slurm for one test: munge and a controller beside the test, and as many hosts with a slurmd as asked for. Jobs
# are submitted with `muster submit` and awaited by what Slurm and the runs' logs say.
# shellcheck source=hosts_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/hosts_lib.sh"
for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null ||
        skip "$program is not installed (packages slurmctld, slurmd, slurm-client, munge)"
done
slurmd_timeout_s=5 # until Slurm gives a node up that does not answer

slurm=$folder/slurm
export SLURM_CONF=$slurm/slurm.conf

slurm_configure() {
    local nodes=$1
    mkdir -p "$slurm"/{run,log,state,spool,tmp}
    chmod 755 "$folder" "$slurm" "$slurm/run"
    for ((i = 1; i <= nodes; i++)); do mkdir -p "$slurm/spool/node$i" "$slurm/tmp/node$i"; done
    # slurmd looks for control groups that it may make, and does not start where there are none of the kind it expects,
    # though nothing here wants any. The older plug-in looks at nothing until it is used; since 23.11 there is a word for it.
    local groups=disabled
    [[ $(slurmd -V) != *" 22."* ]] || groups=cgroup/v1
    echo "CgroupPlugin=$groups" >"$slurm/cgroup.conf"
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=control
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$slurm/run/munge.socket,cred_expire=5
SlurmctldPidFile=$slurm/run/slurmctld.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
StateSaveLocation=$slurm/state
SlurmdPidFile=$slurm/run/slurmd.%n.pid
SlurmdLogFile=$slurm/log/slurmd.%n.log
SlurmdSpoolDir=$slurm/spool/%n
TmpFS=$slurm/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmdTimeout=$slurmd_timeout_s
MessageTimeout=5
TCPTimeout=1
KillWait=2
MinJobAge=300
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node[1-$nodes] CPUs=8 RealMemory=4096 Gres=gpu:h100:2 State=UNKNOWN
PartitionName=ci Nodes=node[1-$nodes] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=node[1-$nodes] MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
CONF
    echo "NodeName=node[1-$nodes] Name=gpu Type=h100 File=/dev/null,/dev/zero" >"$slurm/gres.conf"
    echo "PMIxCollFence=ring" >"$slurm/mpi.conf" # with the default a few 4-node steps in a hundred hang
}

host_service() { echo "slurmd -N node$1"; }

# slurm_start NODES: returns when all nodes are idle.
slurm_start() {
    hosts_make 0
    slurm_configure "$1"
    (umask 077 && head -c 128 /dev/urandom >"$slurm/run/munge.key")
    munged --force --key-file="$slurm/run/munge.key" --socket="$slurm/run/munge.socket" \
        --pid-file="$slurm/run/munged.pid" --log-file="$slurm/log/munged.log" --seed-file="$slurm/run/munged.seed"
    slurmctld -i
    for ((i = 1; i <= $1; i++)); do host_start "$i"; done
    await_idle "$1" || {
        cat "$slurm"/log/*.log | tail -n 40
        fail "Slurm did not come up: $(sinfo -R -h)"
    }
}

# await_idle NODES: until so many nodes are there and have nothing to do.
await_idle() {
    local deadline=$((SECONDS + deadline_s))
    until [[ $(sinfo -h -p ci -o '%T %D' 2>/dev/null) == "idle $1" ]]; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# muster VERB WORD…: what it says is in $folder/out; $status.
muster() {
    status=0
    "$MUSTER_BIN/muster" "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

# submit WORD…: the number of the job, or of the array's first task, in $id, its log in $log.
submit() {
    muster submit "$@"
    must_exit 0
    id=$(sed -nE 's/^job ([0-9_]+): .*/\1/p' "$folder/out" | head -n 1)
    log=$(sed -nE 's/^  log +(.*)$/\1/p' "$folder/out" | head -n 1)
    [[ -n $id && -n $log ]] || fail "submit named no job"
}

job_field() { scontrol -o show job "$1" 2>/dev/null | sed -nE "s/.* $2=([^ ]*).*/\1/p"; }

# await_log LOG REGEX [JOB]: until a line of the log matches; the test fails when the job is over without it.
await_log() {
    local deadline=$((SECONDS + deadline_s))
    until [[ -e $1 ]] && grep -Eq -- "$2" "$1"; do
        ((SECONDS < deadline)) || fail_log "$1" "the log never said: $2"
        sleep 0.1
    done
}

fail_log() {
    echo "--- $1:"
    tail -n 40 "$1" 2>/dev/null || true
    squeue --states=all || true
    tail -n 15 "$slurm/log/slurmctld.log" || true
    shift
    fail "$@"
}

# await_state JOB LOG STATE…: until the job is in one of these states.
await_state() {
    local id=$1 log=$2 deadline=$((SECONDS + deadline_s)) state
    shift 2
    until state=$(job_field "$id" JobState) && [[ " $* " == *" $state "* ]]; do
        ((SECONDS < deadline)) || fail_log "$log" "job $id is $state and never became $*"
        sleep 0.1
    done
}

# The state hash that ends a log.
logged_hash() { sed -nE 's/^ *state hash +([0-9a-f]{32})$/\1/p' "$1" | tail -n 1; }

# The same job on one rank, undisturbed, without Slurm: its hash in $hash.
undisturbed() {
    OMPI_MCA_btl=self train 1 "$1"
}
