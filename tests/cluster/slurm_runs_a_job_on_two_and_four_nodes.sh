#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `muster submit` on 2 nodes and on 4, by srun and by mpirun: ranks, hosts and GPUs are those of the allocation, and
# the end is that of one undisturbed rank. An array trains two jobs, and a chained job begins when its predecessor has
# ended well.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

slurm_start 4
write_job alone
undisturbed alone

while read -r launcher nodes tasks; do
    name=$launcher-$nodes
    write_job "$name" cluster.launcher="$launcher" slurm.nodes="$nodes" slurm.ntasks_per_node="$tasks" slurm.time=5
    submit "$folder/$name.yaml"
    await_state "$id" "$log" COMPLETED FAILED
    must_equal "$name: state" COMPLETED "$(job_field "$id" JobState)"
    must_equal "$name: state hash" "$hash" "$(logged_hash "$log")"
    grep -q "on $((nodes * tasks)) ranks" "$log" || fail_log "$log" "the plan is not for $((nodes * tasks)) ranks"
    grep -q "(by $launcher)" "$log" || fail_log "$log" "$launcher was not named"
done <<'CASES'
srun 2 2
mpirun 2 2
srun 4 1
mpirun 4 1
CASES

# One rank a GPU, without being told how many.
write_job gpus slurm.nodes=2 slurm.gpus_per_node=2 slurm.time=5
submit "$folder/gpus.yaml"
await_state "$id" "$log" COMPLETED FAILED
must_equal "gpus: state" COMPLETED "$(job_field "$id" JobState)"
grep -q 'hosts: node1:2,node2:2 (by srun)' "$log" || fail_log "$log" "4 GPUs did not become 4 ranks"
must_equal "gpus: state hash" "$hash" "$(logged_hash "$log")"

# An array, and what waits for its second task.
write_job sweep-a slurm.ntasks_per_node=2 slurm.time=5 seed=1
write_job sweep-b slurm.ntasks_per_node=2 slurm.time=5 seed=2
write_job last slurm.time=5
submit --array --at-once 1 "$folder/sweep-a.yaml" "$folder/sweep-b.yaml"
logs=("$folder/sweep-a.run/slurm/${id%_*}_0.log" "$folder/sweep-a.run/slurm/${id%_*}_1.log")
submit "$folder/last.yaml" --after "$folder/sweep-b.yaml"
await_state "$id" "$log" COMPLETED FAILED
must_equal "the chained job" COMPLETED "$(job_field "$id" JobState)"
must_equal "the chained job's hash" "$hash" "$(logged_hash "$log")"
a=$(logged_hash "${logs[0]}") b=$(logged_hash "${logs[1]}")
[[ -n $a && -n $b && $a != "$b" && $b != "$hash" ]] || fail_log "${logs[1]}" "two seeds of a sweep: $a and $b"
muster status "$folder/sweep-b.yaml" "$folder/last.run"
must_exit 0
must_say 'job +[0-9]+_1, submitted .*: COMPLETED for '
must_say 'last step +12, loss '
must_say 'checkpoint +step-000000012'
