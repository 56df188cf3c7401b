#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A rank is killed at a random moment, the job goes on with another number of ranks, and the end is that of one
# undisturbed rank, as if nothing had happened. With a checkpoint after every step many of the kills fall into a save.
# How far a run comes before it dies is not known in advance, so its job has no end within reach, and the last start
# gets one a few steps further on: max_steps is not part of what a step computes.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

RANDOM=${MUSTER_TEST_SEED:-$$}
echo "seed ${MUSTER_TEST_SEED:-$$} (MUSTER_TEST_SEED repeats its choices)"
small=(model.hidden_size=32 model.num_heads=2 model.dropout=0.1 data.seq_len=16)

# kill_after NAME RANKS LINES [all]: starts the job, lets it report so many steps after a checkpoint, and kills.
kill_after() {
    local name=$1 ranks=$2 lines=$3 victim=$((RANDOM % $2))
    start "$ranks" "$name"
    await '  saved [0-9]+$'
    for ((i = 0; i < lines; i++)); do
        await '^step '
    done
    for ((i = RANDOM % 3000; i > 0; i--)); do :; done # somewhere within the step
    if [[ ${4:-} == all ]]; then
        signal_all_ranks KILL
    else
        signal_rank KILL "$victim"
    fi
    await_end
    must_exit 137
    must_not_say 'state hash'
    echo "$name on $ranks ranks: ${4:-rank $victim} killed, newest checkpoint $(checkpoints "$name" | tail -n 1)"
}

# finish NAME RANKS: to a few steps after the newest checkpoint; all of it must be as one rank does it.
finish() {
    local name=$1 ranks=$2 newest steps
    newest=$(checkpoints "$name" | tail -n 1)
    steps=$((10#${newest#step-} + 5))
    write_job "$name" "${small[@]}" "${options[@]}" train.max_steps=$steps
    resume "$ranks" "$name"
    must_say "resumed from the checkpoint of step $((steps - 5))"
    local found=$hash
    write_job undisturbed "${small[@]}" "${options[@]}" train.max_steps=$steps checkpoint.save_interval=0
    train 1 undisturbed
    must_equal "$name: state hash of step $steps" "$hash" "$found"
    numbers "$name" >"$folder/found"
    numbers undisturbed | cmp - "$folder/found" || fail "metrics.jsonl must hold every step once, as undisturbed"
}

while read -r before after model precision; do
    options=(model.type="$model" train.precision="$precision" checkpoint.save_interval=3)
    name=$model-$before-$after
    write_job "$name" "${small[@]}" "${options[@]}" train.max_steps=1000000
    kill_after "$name" "$before" $((RANDOM % 4))
    finish "$name" "$after"
done <<'PAIRS'
4 2 gpt fp32
2 3 llama bf16
1 4 gpt bf16
8 1 llama fp32
PAIRS

unfinished=0
options=(checkpoint.save_interval=1)
write_job often "${small[@]}" "${options[@]}" train.max_steps=1000000
for ((kills = 0; kills < 8; kills++)); do
    if ((kills % 3 == 2)); then
        kill_after often $((RANDOM % 4 + 1)) $((RANDOM % 3)) all
    else
        kill_after often $((RANDOM % 4 + 1)) $((RANDOM % 3))
    fi
    for step in "$folder"/often.run/checkpoints/step-*; do
        [[ -e $step/MANIFEST.json ]] || unfinished=$((unfinished + 1))
    done
done
finish often 3
echo "$unfinished of $kills kills left an unfinished checkpoint behind"
left=$(find "$folder/often.run/checkpoints" -name '*.tmp' -o -name '.aside*')
must_equal "temporary files after the last save" "" "$left"
