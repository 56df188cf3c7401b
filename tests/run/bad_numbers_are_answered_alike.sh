#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A loss that is no number, a spike, an error that goes away when the step is computed again: whatever the job wants done,
# all ranks do it at the same step, on any number of ranks, and again after a restart.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

small=(model.hidden_size=32 model.num_heads=2 data.seq_len=16 train.max_steps=14)

# alike NAME RANKS ...: trains on each, all must end in the same bits. $hash is theirs.
alike() {
    local name=$1 first= ranks
    shift
    for ranks in "$@"; do
        train "$ranks" "$name"
        first=${first:-$hash}
        must_equal "$name on $ranks ranks: state hash" "$first" "$hash"
    done
}
events() { grep -Ec "$1" "$folder/$2.run/events.jsonl" || true; }

write_job plain "${small[@]}"
train 1 plain
undisturbed=$hash

# NaN: skip.
export MUSTER_INJECT=nan@7
write_job skip "${small[@]}" fault.on_nan=skip
alike skip 1 2 3
skipped=$hash
[[ $skipped != "$undisturbed" ]] || fail "the skipped step was not skipped"
must_say 'step 7  WARNING: loss nan .* must be finite: skipped, no weight was changed'
must_equal "events of 3 ranks" 1 "$(events '"kind": "nan", "step": 7' skip)"
must_equal "skipped steps in metrics.jsonl" 1 "$(grep -c '"step": 7, "loss": null.*"skipped": true' "$folder/skip.run/metrics.jsonl")"

# NaN: roll back 3 steps or more, to the checkpoint of step 4 (from step 10) and go on with other data.
export MUSTER_INJECT=nan@10
write_job back "${small[@]}" fault.on_nan=rollback fault.rollback_steps=3
alike back 1 2 3
rolled=$hash
[[ $rolled != "$undisturbed" ]] || fail "nothing was rolled back"
must_say 'back at step 4; data of 6 steps left out so far'
must_equal "events" 1 "$(events '"kind": "nan", "step": 10' back)"
must_equal "steps in metrics.jsonl" "$(seq 14)" "$(sed -nE 's/^\{"step": ([0-9]+), "loss".*/\1/p' "$folder/back.run/metrics.jsonl")"
rm -rf "$folder/back.run"
write_job back "${small[@]}" fault.on_nan=rollback fault.rollback_steps=3 train.max_steps=11
resume 2 back
write_job back "${small[@]}" fault.on_nan=rollback fault.rollback_steps=3
resume 3 back
must_say 'resumed from the checkpoint of step 11'
must_equal "state hash after a restart" "$rolled" "$hash"

# To the very start, where there is no checkpoint.
export MUSTER_INJECT=nan@3
alike back 1 2
must_say 'back at step 0; data of 3 steps left out so far'

# NaN: stop, as ever.
worker 2 plain --resume never
must_exit 1
must_say 'step 3: loss nan and gradient norm [0-9.]+ must be finite'

# A spike, once it is known what is usual.
export MUSTER_INJECT=spike@12
write_job spike "${small[@]}" fault.on_spike=skip fault.spike_window=8
alike spike 1 3
must_say 'step 12  WARNING: loss [0-9.]+ is more than 6 deviations'
must_equal "events" 1 "$(events '"kind": "spike", "step": 12' spike)"

# The same result twice, or another the second time.
export MUSTER_INJECT=soft@7
write_job replay "${small[@]}" fault.on_nan=skip fault.replay=true
alike replay 1 3
must_equal "state hash after a soft error" "$undisturbed" "$hash"
must_say 'step 7  WARNING: .*computing it once more'
must_say 'soft error'
export MUSTER_INJECT=nan@7
alike replay 2
must_equal "state hash after a hard error" "$skipped" "$hash"
must_say 'hard error'

# One bit of one rank's copy of the weights.
export MUSTER_INJECT=flip@6:1
write_job flip "${small[@]}" fault.check_interval=2 checkpoint.save_interval=0
worker 3 flip
must_exit 1
must_say 'step 6: rank 1 holds other weights than the other 2 ranks'
must_equal "events" 1 "$(events '"kind": "corruption", "rank": 1' flip)"
must_equal "times it was said" 1 "$(grep -c 'holds other weights' "$folder/out")"
worker 2 flip
must_exit 1
must_say 'no copy is that of most'
unset MUSTER_INJECT
alike flip 3
must_equal "state hash with comparisons" "$undisturbed" "$hash"
