#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# One rank of three pauses in every logical worker. It is named with its host, once, and nothing else changes: the result
# is that of a rank alone.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# A slot a rank, and a pause far longer than a busy machine keeps another rank waiting in most steps.
write_job slow train.max_steps=100 checkpoint.save_interval=0 logging.interval=20 \
    train.global_batch_size=4 parallel.logical_workers=4
train 1 slow
expected=$hash
export MUSTER_INJECT=slow@5:1
train 3 slow
must_equal "state hash" "$expected" "$hash"
must_say 'WARNING: rank 1 \([^)]+\) is slow'
events=$folder/slow.run/events.jsonl
must_equal "events about rank 1" 1 "$(grep -c '"kind": "straggler", "rank": 1, "host": "[^"]' "$events")"
cat "$events"
