#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Each of three ranks is stopped (SIGSTOP, which Open MPI never notices) and killed in turn, and two hang. The job must end by
# itself, and the event log name that rank and no other, with its phase and a step that the others have not left behind; the
# ranks that waited leave their stacks.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

export OMPI_MCA_odls_base_sigkill_timeout=1 # time for last words
events=$folder/lost.run/events.jsonl
job=(train.max_steps=1000000 checkpoint.save_interval=0 logging.interval=150 fault.timeout=2)

# lose KIND RANK ACTION ...: runs the job, does ACTION in the middle; what the event log says about it.
lose() {
    local kind=$1 victim=$2 rank named finished
    shift 2
    rm -rf "$folder/lost.run"
    start 3 lost
    await '^step '
    await '^step ' # many steps later: the others have been told where it is
    "$@"
    await_end
    [[ -s $events ]] || fail "no event was written"
    must_equal "events" 1 "$(wc -l <"$events")"
    grep -Eq "\"kind\": \"$kind\", \"rank\": $victim, \"host\": \"[^\"]+\", \"step\": [0-9]+, \"phase\": \"[a-z]+\"" "$events" ||
        fail "not rank $victim but: $(<"$events")"
    for rank in 0 1 2; do
        if [[ $rank != "$victim" ]] && ! grep -q 'muster-worker(+0x' "$folder/lost.run/logs/rank-000$rank.log"; then
            fail "rank $rank left no stacks"
        fi
    done
    must_say "rank $victim \\([^)]+\\) (died|stopped).* at step [0-9]+"
    named=$(sed -nE 's/.*"step": ([0-9]+).*/\1/p' "$events")
    finished=$(tail -n 1 "$folder/lost.run/metrics.jsonl" | sed -nE 's/^\{"step": ([0-9]+),.*/\1/p')
    [[ $named -ge $finished ]] || fail "rank $victim is named at step $named, but all have finished step $finished"
    cat "$events"
}

write_job lost "${job[@]}"
for victim in 0 1 2; do
    lose stopped "$victim" signal_rank STOP "$victim"
    must_exit 76
    lose death "$victim" signal_rank KILL "$victim"
    [[ $status -eq 137 || $status -eq 76 ]] || must_exit 137 # 76 where mpirun is slow to see who died first
done

# A rank that lives and gets nowhere, in an endless loop or waiting for data that never come; its own stacks show where.
for where in backward:0:800 data:2:1200; do
    IFS=: read -r name victim hit <<<"$where"
    MUSTER_FAULT=$name:$victim:$hit:hang lose stopped "$victim" true
    must_exit 76
    grep -q 'fault_point\|muster-worker(+0x' "$folder/lost.run/logs/rank-000$victim.log" || fail "rank $victim left no stacks"
done

# As between hosts.
for victim in 0 2; do
    MUSTER_WATCHDOG_TCP=1 lose stopped "$victim" signal_rank STOP "$victim"
    must_exit 76
done
