#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Threads share out loops, never sums: a rank of 1, 2 or 3 threads computes the same bits. The sizes
# are such that a matrix product is cut into several tiles.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

larger=(model.num_layers=1 model.hidden_size=160 model.num_heads=5 data.seq_len=96 train.micro_batch_size=4
    parallel.logical_workers=4 train.max_steps=4)
for precision in fp32 bf16; do
    for type in gpt llama; do
        name=$type-$precision
        write_job "$name" "${larger[@]}" model.type=$type train.precision=$precision model.dropout=0.1
        train 1 "$name"
        expected=$hash
        numbers "$name" >"$folder/expected"
        for threads in 2 3; do
            write_job "$name" "${larger[@]}" model.type=$type train.precision=$precision model.dropout=0.1 \
                parallel.threads=$threads
            for ranks in 1 2; do
                train $ranks "$name"
                must_say "$ranks ranks? of $threads threads"
                numbers "$name" | cmp - "$folder/expected" || fail "$name: other numbers with $threads threads"
                must_equal "$name: state hash of $ranks ranks with $threads threads" "$expected" "$hash"
            done
        done
    done
done
