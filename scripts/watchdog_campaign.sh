#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The watchdog over long runs: is a stopped rank always named, soon enough, and does a machine with too much to do never
# look like a lost rank. Prints one line a trial and a table row at the end (docs/benchmarks/WATCHDOG.md keeps them).
#
# usage: MUSTER_BIN=build/bin scripts/watchdog_campaign.sh --trials N    stop a random rank of three, N times
#        MUSTER_BIN=build/bin scripts/watchdog_campaign.sh --steps N     N steps of four ranks beside three busy processes a core
export MUSTER_SOURCE=${MUSTER_SOURCE:-$(cd "$(dirname "$0")/.." && pwd)}
# shellcheck source=../tests/run/lib.sh
. "$MUSTER_SOURCE/tests/run/lib.sh"

[[ $# -eq 2 && $2 =~ ^[0-9]+$ ]] || { sed -n 's/^# usage: //p; s/^#        M/M/p' "$0"; exit 2; }
RANDOM=${MUSTER_TEST_SEED:-$$}
export OMPI_MCA_odls_base_sigkill_timeout=1
limit_ms=10000 # or five steps, which are shorter here
job=(checkpoint.save_interval=0 logging.interval=20)

now_ms() { date +%s%3N; }

# The time of the only event, in Unix milliseconds; empty unless it names rank $1.
named_ms() {
    local events=$folder/trial.run/events.jsonl when
    [[ -s $events && $(wc -l <"$events") -eq 1 ]] || return 0
    when=$(sed -nE "s/^\{\"time\": \"([^\"]+)\", \"kind\": \"stopped\", \"rank\": $1,.*/\1/p" "$events")
    [[ -z $when ]] || date -d "$when" +%s%3N
}

stop_trials() {
    local trials=$1 good=0 longest=0 total=0 trial victim line began took
    write_job trial "${job[@]}" train.max_steps=100000000
    for ((trial = 1; trial <= trials; trial++)); do
        victim=$((RANDOM % 3))
        rm -rf "$folder/trial.run"
        start 3 trial
        for ((line = RANDOM % 5 + 2; line > 0; line--)); do
            await '^step '
        done
        for ((line = RANDOM % 3000; line > 0; line--)); do :; done # somewhere within the step
        began=$(now_ms)
        signal_rank STOP "$victim"
        await_end
        took=$(named_ms "$victim")
        took=$((${took:-0} - began))
        if [[ $took -gt 0 && $took -le $limit_ms && $status -eq 76 ]]; then
            good=$((good + 1))
            total=$((total + took))
            [[ $took -le $longest ]] || longest=$took
            echo "trial $trial: rank $victim named after $took ms"
        else
            echo "trial $trial: rank $victim NOT named in time (exit code $status): $(cat "$folder/trial.run/events.jsonl" 2>/dev/null)"
        fi
    done
    echo "| stopped rank named within $limit_ms ms | $good of $trials | mean $((total / (good > 0 ? good : 1))) ms, longest $longest ms |"
    [[ $good -eq $trials ]]
}

busy_pids=()
busy_end() { [[ ${#busy_pids[@]} -eq 0 ]] || kill "${busy_pids[@]}" 2>/dev/null || true; }

overload() {
    local steps=$1 cores busy i began
    cores=$(nproc)
    busy=$((3 * cores))
    trap 'busy_end; clean_up' EXIT
    for ((i = 0; i < busy; i++)); do
        (while :; do :; done) &
        busy_pids+=($!)
    done
    deadline_s=36000
    write_job trial "${job[@]}" train.max_steps="$steps" logging.interval=500
    began=$(now_ms)
    worker 4 trial
    busy_end
    echo "| false alarms in $steps steps of 4 ranks beside $busy busy processes on $cores cores | $(cat "$folder/trial.run/events.jsonl" 2>/dev/null | wc -l) | exit code $status, $((($(now_ms) - began) / 1000)) s |"
    tail -n 5 "$folder/out"
    [[ $status -eq 0 && ! -s $folder/trial.run/events.jsonl ]]
}

case $1 in
--trials) stop_trials "$2" ;;
--steps) overload "$2" ;;
*) exit 2 ;;
esac
