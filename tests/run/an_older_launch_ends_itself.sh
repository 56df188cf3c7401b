#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Fencing: once a newer launch of the run has been counted, ranks of an older one (they may live on behind a cut network)
# end themselves and commit no checkpoint, and the supervisor that started them leaves the run to the one that took over.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job old train.max_steps=1000000 checkpoint.save_interval=1000000
"$MUSTER_BIN/muster" run "$folder/old.yaml" -n 2 >"$folder/out" 2>&1 </dev/null &
job_pid=$!
until [[ -s $folder/old.run/metrics.jsonl ]]; do
    kill -0 "$job_pid" 2>/dev/null || fail 'the run ended before its first step'
done
must_equal "launches" 1 "$(<"$folder/old.run/epoch")"
printf 'elsewhere\n4711\n/tmp\n/dev/shm\n' >"$folder/old.run/launcher.2"
must_equal "notes of launchers" "launcher.1 launcher.2" "$(cd "$folder/old.run" && echo launcher.*)"
printf '2\n' >"$folder/epoch" && mv "$folder/epoch" "$folder/old.run/epoch"
wait "$job_pid" || status=$?
job_pid=
must_exit 1
must_say 'launch 2 of this run has taken over; launch 1 ends and changes nothing'
must_say '; giving up: another `muster run` has taken this run over, and goes on with it$'
must_not_say 'restarting'
must_equal "launches" 2 "$(<"$folder/old.run/epoch")"
must_equal "notes of launchers, the older one's end" launcher.2 "$(cd "$folder/old.run" && echo launcher.*)"
grep -q '"kind": "fenced", "epoch": 1, "rank": [01]' "$folder/old.run/events.jsonl" || fail "no event"
must_equal "checkpoints" "" "$(checkpoints old)"

# One that comes too late from the start, and would save at its end.
write_job old train.max_steps=3 checkpoint.save_interval=1
MUSTER_EPOCH=1 worker 2 old
[[ $status -ne 0 && $status -ne 75 ]] || fail "an older launch went through"
must_equal "checkpoints" "" "$(checkpoints old)"

MUSTER_EPOCH=2 resume 2 old
must_equal "checkpoints of the newest launch" 3 "$(checkpoints old | wc -l)"
