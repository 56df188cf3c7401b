#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Pre-emption: USR1 to mpirun (it passes it on to all ranks) or TERM to a single rank ends the job with a checkpoint and
# exit code 75; TERM to mpirun, which answers 1 whatever its ranks do, leaves the checkpoint as well. Started again, the
# job ends in the same bits as one that was never stopped.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

job=(train.max_steps=1000000 checkpoint.save_interval=1000000 logging.interval=50)
write_job stopped "${job[@]}"
last=0

# The checkpoint is of the step that the worker says it stopped at, and later than the last one.
must_have_saved() {
    local name
    name=$(checkpoints stopped | tail -n 1)
    [[ -n $name ]] || fail "there is no checkpoint"
    [[ $((10#${name#step-})) -gt $last ]] || fail "no step was done since the last start"
    last=$((10#${name#step-}))
    echo "stopped and saved at step $last"
}

start 2 stopped
await "^step "
kill -USR1 "$job_pid"
await_end
must_exit 75
must_have_saved
must_say "stopped and saved at step $last of"
must_say "stopped at step $last; the same command continues"

start 3 stopped
await "resumed from the checkpoint of step $last"
await '^step '
signal_rank TERM 1 # neither the first nor the last
await_end
must_exit 75
must_have_saved
must_say "stopped and saved at step $last of"

# mpirun hands TERM on after this many seconds, and KILL after twice as many.
export OMPI_MCA_odls_base_sigkill_timeout=2
start 2 stopped
await "resumed from the checkpoint of step $last"
await '^step '
kill -TERM "$job_pid"
await_end
must_exit 1
must_have_saved

last=$((last + 5))
write_job stopped "${job[@]}" train.max_steps=$last
resume 1 stopped
found=$hash
write_job undisturbed "${job[@]}" train.max_steps=$last
train 2 undisturbed
must_equal "state hash of step $last" "$hash" "$found"
numbers stopped >"$folder/found"
numbers undisturbed | cmp - "$folder/found" || fail "metrics.jsonl differs from that of the undisturbed run"

# A rank that hangs before the first step has nothing to save, and neither have those that wait for it in MPI_Init.
unset OMPI_MCA_odls_base_sigkill_timeout
export MUSTER_FAULT=startup:0:1:hang MUSTER_FAULT_ONCE=$folder/fired
write_job hanging
timeout --foreground -s KILL "$deadline_s" "$MUSTER_BIN/muster" run "$folder/hanging.yaml" -n 2 >"$folder/out" 2>&1 </dev/null &
job_pid=$!
until [[ -s $folder/fired ]]; do
    kill -0 "$job_pid" 2>/dev/null || fail 'the run ended before a rank hung'
done
kill -TERM "$job_pid" # which hands it on
status=0
wait "$job_pid" || status=$?
job_pid=
must_exit 75
must_say '^muster run: Terminated: ending the ranks, which have nothing to save yet$'
must_say '^muster run: stopped before the first step; nothing was lost$'
