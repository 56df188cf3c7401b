#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A node loses its power in the middle of a run. The run goes on inside the
# same allocation with the nodes that are left, and the end is that of one undisturbed rank; by both launchers.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

slurm_start 3
while read -r launcher lost; do
    name=$launcher-$lost
    write_job "$name" train.max_steps=1000000 checkpoint.save_interval=20 cluster.launcher="$launcher" slurm.nodes=3 \
        slurm.ntasks_per_node=1 slurm.time=5 slurm.requeue=false
    submit "$folder/$name.yaml"
    await_log "$log" '  saved [0-9]+$'
    host_kill "${lost#node}"
    await_log "$log" "$lost does not answer: going on without it"
    await_log "$log" 'resumed from the checkpoint of step'
    grep "$lost does not answer" "$log" | cut -c -300
    muster cancel "$folder/$name.yaml"
    await_log "$log" 'stopped and saved at step'
    await_state "$id" "$log" FAILED COMPLETED CANCELLED
    must_equal "$name: exit code" 75:0 "$(job_field "$id" ExitCode)"
    must_equal "$name: restarts by Slurm" 0 "$(job_field "$id" Restarts)"
    steps=$(sed -nE 's/.*stopped and saved at step ([0-9]+) of.*/\1/p' "$log" | tail -n 1)
    write_job alone train.max_steps="$steps" checkpoint.save_interval=0
    undisturbed alone
    must_equal "$name: state hash of step $steps" "$hash" "$(logged_hash "$log")"
    host_start "${lost#node}"
    await_idle 3 || fail "$lost did not come back: $(sinfo -R -h)"
done <<'CASES'
mpirun node2
srun node3
CASES
