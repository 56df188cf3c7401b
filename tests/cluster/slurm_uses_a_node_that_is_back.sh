#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A node dies in the middle of a run and comes back. Before Slurm has given it up (SlurmdTimeout) it still belongs to the
# job: the run goes on without it and, when it answers again, with it. Once Slurm has given it up it takes the node out of
# the job for good and hands it to others: the run stays with what is left. The end is that of one undisturbed rank.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

slurmd_timeout_s=300 # Slurm's own

# await_after REGEX REGEX2: until the log has a line that matches REGEX2 behind the last one that matches REGEX.
await_after() {
    local deadline=$((SECONDS + deadline_s))
    until tac "$log" | sed -E "/$1/q" | grep -Eq -- "$2"; do
        ((SECONDS < deadline)) || fail_log "$log" "the log never said after $1: $2"
        sleep 0.1
    done
}

slurm_start 3
write_job back train.max_steps=1000000 checkpoint.save_interval=20 cluster.launcher=mpirun slurm.nodes=3 \
    slurm.ntasks_per_node=1 slurm.time=5 slurm.requeue=false supervisor.host_retry=1
submit "$folder/back.yaml"
await_log "$log" '  saved [0-9]+$'

host_kill 2
await_log "$log" 'node2 does not answer: going on without it'
await_after 'node2 does not answer' '2 ranks of 1 thread'
host_start 2
await_log "$log" 'a host answers again: saving, to go on with it'
await_after 'a host answers again' '3 ranks of 1 thread'
await_after '3 ranks of 1 thread' '  saved [0-9]+$'

host_kill 3
await_log "$log" 'node3 does not answer: going on without it'
scontrol update nodename=node3 state=down reason=gone
await_after 'node3 does not answer' '2 ranks of 1 thread'
host_start 3
deadline=$((SECONDS + deadline_s))
until [[ $(sinfo --noheader --nodes=node3 --format=%T) == idle ]]; do
    ((SECONDS < deadline)) || fail "node3 is $(sinfo --noheader --nodes=node3 --format=%T) and not idle"
    scontrol update nodename=node3 state=resume 2>/dev/null || true # refused once it has come back by itself
    sleep 0.1
done
srun --nodelist=node3 --nodes=1 true </dev/null || fail 'Slurm did not give the node to another job'
must_equal 'nodes that the job has' 'node[1-2]' "$(job_field "$id" NodeList)"
await_after '2 ranks of 1 thread' '  saved [0-9]+$'

muster cancel "$folder/back.yaml"
await_log "$log" 'stopped and saved at step'
await_state "$id" "$log" FAILED COMPLETED CANCELLED
must_equal 'exit code' 75:0 "$(job_field "$id" ExitCode)"
must_equal 'restarts by Slurm' 0 "$(job_field "$id" Restarts)"
must_equal 'hosts that were back' 1 "$(grep -c 'a host answers again' "$log")"
steps=$(sed -nE 's/.*stopped and saved at step ([0-9]+) of.*/\1/p' "$log" | tail -n 1)
write_job alone train.max_steps="$steps" checkpoint.save_interval=0
undisturbed alone
must_equal "state hash of step $steps" "$hash" "$(logged_hash "$log")"
