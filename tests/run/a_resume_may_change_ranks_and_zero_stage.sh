#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A checkpoint is by owned ranges whatever the stage was: a run that goes on with another number of ranks and another
# ZeRO stage at once, again and again, ends in the state of the run that was never stopped. A turn has two steps: what
# a rank holds but does not own shows only in the second.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for precision in fp32 bf16; do
    usual=(train.global_batch_size=8 checkpoint.save_interval=0 "train.precision=$precision" model.num_layers=3
        model.hidden_size=96)
    write_job "$precision" "${usual[@]}" train.max_steps=12
    train 1 "$precision"
    expected=$hash
    number=0
    for turn in "3 3" "2 0" "1 3" "8 2" "4 3" "3 1"; do
        read -r ranks stage <<<"$turn"
        number=$((number + 1))
        write_job "$precision-$number" "${usual[@]}" "train.max_steps=$((2 * number))" "parallel.zero_stage=$stage" \
            "output_dir=$folder/turns-$precision.run" name=turns
        resume "$ranks" "$precision-$number"
        [[ $number -eq 1 ]] || must_say "resumed from the checkpoint of step $((2 * number - 2))"
    done
    must_equal "$precision: state hash after six turns" "$expected" "$hash"
    echo "$precision: $expected after six changes of ranks and stage"
done
