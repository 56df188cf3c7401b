#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Saving from a copy while training goes on, saving while training waits, and not saving at all end in the same
# state; every checkpoint holds the state of its own step; and what resumes from one written beside training on any
# number of ranks ends there too.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

common=(model.hidden_size=96 model.num_heads=4 train.max_steps=9 data.seq_len=16)
write_job plain "${common[@]}" checkpoint.save_interval=0
train 1 plain
expected=$hash

# The state hash of each checkpoint of a run, in order.
hashes() { "$MUSTER_BIN/muster" ckpt hash "$folder/$1.run" | sed -E 's/ .*step-/ step-/' | sort -k 2; }

write_job waits "${common[@]}" checkpoint.save_interval=1 checkpoint.keep_last=20 checkpoint.async=false
train 2 waits
must_equal 'saving while training waits' "$expected" "$hash"
hashes waits >"$folder/expected"
must_equal 'number of checkpoints' 9 "$(wc -l <"$folder/expected")"

for precision in fp32 bf16; do
    for direct in false true; do
        options=("${common[@]}" checkpoint.save_interval=1 checkpoint.keep_last=20 checkpoint.direct_io="$direct" \
            train.precision="$precision")
        write_job beside "${options[@]}"
        train 3 beside
        if [[ $precision == fp32 ]]; then
            must_equal 'saving beside training' "$expected" "$hash"
            hashes beside | cmp - "$folder/expected" || fail 'the checkpoints hold other states'
        fi
        "$MUSTER_BIN/muster" ckpt verify "$folder/beside.run" >/dev/null || fail 'a checkpoint does not verify'
        wanted=$hash
        rm -rf "$folder/beside.run/checkpoints"/step-00000000[6789]
        resume 1 beside
        must_say 'resumed from the checkpoint of step 5'
        must_equal "resumed with $precision" "$wanted" "$hash"
    done
done
grep -q '"checkpoint_ms": .*"checkpoint_stall_ms": ' "$folder/beside.run/metrics.jsonl" || fail 'no times of a save'

# What is not saved because the one before is still being written is told; the last one is never left out.
write_job skips "${common[@]}" checkpoint.save_interval=1 checkpoint.keep_last=20 checkpoint.on_busy=skip
train 2 skips
must_equal 'skipping saves' "$expected" "$hash"
must_equal 'checkpoints and skipped ones' 9 \
    $(($(checkpoints skips | wc -l) + $(grep -c 'no checkpoint of this step' "$folder/out" || true)))
[[ -e $folder/skips.run/checkpoints/step-000000009/MANIFEST.json ]] || fail 'the last checkpoint is missing'

# A copy of the state is part of the plan, to the byte.
plan_bytes() { "$MUSTER_BIN/muster" plan "$folder/$1.yaml" | sed -nE 's/^  checkpoint copy +([0-9.]+ [A-Za-z]+)$/\1/p'; }
[[ -n $(plan_bytes beside) ]] || fail 'the plan does not count the copy'
must_equal 'no copy where training waits' '' "$(plan_bytes waits)"
