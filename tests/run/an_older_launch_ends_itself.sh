#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Fencing: once a newer launch of the run has been counted, ranks of an older one (they may live on behind a cut network)
# end themselves and commit no checkpoint.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

export MUSTER_EPOCH=3
write_job old train.max_steps=1000000 checkpoint.save_interval=1000000 logging.interval=20
start 2 old
await '^step '
printf '4\n' >"$folder/epoch" && mv "$folder/epoch" "$folder/old.run/epoch"
await_end
[[ $status -ne 0 && $status -ne 75 ]] || fail "exit code $status"
must_say 'launch 4 of this run has taken over; launch 3 ends and changes nothing'
grep -q '"kind": "fenced", "epoch": 3, "rank": [01]' "$folder/old.run/events.jsonl" || fail "no event"
must_equal "checkpoints" "" "$(checkpoints old)"

# One that comes too late from the start, and would save at its end.
write_job old train.max_steps=3 checkpoint.save_interval=1
worker 2 old
[[ $status -ne 0 ]] || fail "an older launch went through"
must_equal "checkpoints" "" "$(checkpoints old)"

MUSTER_EPOCH=4 resume 2 old
must_equal "checkpoints of the newest launch" 3 "$(checkpoints old | wc -l)"
