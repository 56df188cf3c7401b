#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# mpirun is killed. Every rank must be gone soon, also one that was stopped at that moment and goes on later.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job alone train.max_steps=1000000 checkpoint.save_interval=0 logging.interval=20 fault.timeout=2
start 3 alone
await '^step '
signal_rank STOP 1
kill -KILL "$job_pid"
# Not for the end of what is printed: a rank that is stopped keeps that open, unless the kernel wakes it as its parent dies,
# which it does only when the stop was there first.
wait "$job_pid" || true
job_pid=
for rank in 0 2 1; do
    [[ $rank != 1 ]] || signal_rank CONT 1
    timeout "$deadline_s" tail --pid="$(<"$folder/pid-$rank")" -f /dev/null || fail "rank $rank lives on"
done
