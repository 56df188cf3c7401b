#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# All ranks are stopped for longer than any of them may be silent, and continued, twice: what a person does with Ctrl-Z
# or by closing a laptop. The job goes on to the same bits, and nobody is accused.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

job=(train.max_steps=400 checkpoint.save_interval=0 logging.interval=20 fault.timeout=1)
write_job whole "${job[@]}"
train 1 whole
expected=$hash
rm -rf "$folder/whole.run"

start 3 whole
for turn in 1 2; do
    await '^step '
    signal_all_ranks STOP
    sleep 2.5 # time must pass: it is what is tested
    signal_all_ranks CONT
done
await "state hash +$expected"
await_end
must_exit 0
[[ ! -s $folder/whole.run/events.jsonl ]] || fail "an event after $turn pauses: $(<"$folder/whole.run/events.jsonl")"
