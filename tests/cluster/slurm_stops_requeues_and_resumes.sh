#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The ways in which Slurm ends a run: the signal before the time limit, pre-emption by a more urgent job, `muster
# cancel`. Each gives a checkpoint; the first two put the job back into the queue, once, and what it becomes is what
# one undisturbed rank makes of it.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

endless=(train.max_steps=1000000 checkpoint.save_interval=1000000)
requeues() { grep -c 'requeueing job' "$1" || true; }

# The run's end is put within reach in the copy that was submitted: max_steps is not part of what a step computes.
end_after_resume() {
    local log=$1 copy=$2 step
    step=$(sed -nE 's/.*stopped and saved at step ([0-9]+) of.*/\1/p' "$log" | tail -n 1)
    [[ -n $step ]] || fail_log "$log" "no step was saved"
    steps=$((step + 5))
    sed -i "s/max_steps: .*/max_steps: $steps/" "$copy"
}

# finish WHAT [RESTARTS]: the job ends well after so many restarts by Slurm, of which muster asked for one.
finish() {
    local what=$1
    await_state "$id" "$log" COMPLETED FAILED
    must_equal "$what: state" COMPLETED "$(job_field "$id" JobState)"
    [[ $(job_field "$id" Restarts) =~ ^(${2:-1})$ ]] || fail_log "$log" "$what: $(job_field "$id" Restarts) restarts"
    must_equal "$what: requeues" 1 "$(requeues "$log")"
    grep -q 'resumed from the checkpoint of step' "$log" || fail_log "$log" "$what: it did not resume"
    write_job alone train.max_steps="$steps" checkpoint.save_interval=0
    undisturbed alone
    must_equal "$what: state hash of step $steps" "$hash" "$(logged_hash "$log")"
    echo "$what: stopped, requeued and resumed to step $steps"
}

copy_of() { find "$folder/$1.run/slurm" -name "$1.yaml"; }

slurm_start 2

# The time limit: a job of one minute whose signal is due 55 s before its end, for srun; sent by hand for mpirun.
write_job limit "${endless[@]}" cluster.launcher=srun slurm.nodes=2 slurm.ntasks_per_node=2 slurm.time=1 \
    slurm.signal_margin=55
submit "$folder/limit.yaml"
await_log "$log" 'requeueing job'
end_after_resume "$log" "$(copy_of limit)"
finish "time limit, srun"

write_job signal "${endless[@]}" cluster.launcher=mpirun slurm.nodes=2 slurm.ntasks_per_node=2 slurm.time=5
submit "$folder/signal.yaml"
await_log "$log" '^step [0-9]+/'
scancel --batch --signal=USR1 "$id"
await_log "$log" 'requeueing job'
end_after_resume "$log" "$(copy_of signal)"
finish "signal to the batch script, mpirun"

# Pre-emption: the urgent job wants all nodes.
write_job low "${endless[@]}" cluster.launcher=srun slurm.nodes=2 slurm.ntasks_per_node=4 slurm.cpus_per_task=2 \
    slurm.time=5
submit "$folder/low.yaml"
await_log "$log" '^step [0-9]+/'
low_id=$id low_log=$log
write_job urgent slurm.partition=urgent slurm.nodes=2 slurm.ntasks_per_node=4 slurm.cpus_per_task=2 slurm.time=5
submit "$folder/urgent.yaml"
await_log "$low_log" 'stopped and saved at step'
end_after_resume "$low_log" "$(copy_of low)"
await_state "$id" "$log" COMPLETED FAILED
must_equal "the urgent job" COMPLETED "$(job_field "$id" JobState)"
id=$low_id log=$low_log
# Slurm 24.11 puts a job that was pre-empted with a grace time back once more, after its good end (mended in 26.05): it
# finds itself done.
restarts=1
[[ $(slurmd -V) == *" 22."* ]] || restarts='1|2'
finish "pre-emption" "$restarts"

# Cancelled: saved, and not requeued; submitted again it goes on.
write_job cancelled "${endless[@]}" slurm.nodes=2 slurm.time=5
submit "$folder/cancelled.yaml"
await_log "$log" '^step [0-9]+/'
muster cancel "$folder/cancelled.yaml"
must_exit 0
must_say 'saves a checkpoint after its step and stops'
await_state "$id" "$log" FAILED COMPLETED CANCELLED
grep -q 'is not requeued: it was cancelled' "$log" || fail_log "$log" "a cancelled job must say so"
must_equal "cancelled: exit code" 75:0 "$(job_field "$id" ExitCode)"
submit "$folder/cancelled.yaml"
await_log "$log" 'resumed from the checkpoint of step'
muster cancel --now "$folder/cancelled.run"
must_exit 0
await_state "$id" "$log" CANCELLED
