#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Recompute trades time for memory and nothing else: same bits, less memory.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for type in gpt llama; do
    declare -A memory=()
    for recompute in none selective full; do
        name=$type-$recompute
        write_job "$name" model.type=$type model.num_layers=3 model.dropout=0.1 data.seq_len=40 train.max_steps=8 \
            train.micro_batch_size=2 train.recompute=$recompute
        train 2 "$name"
        if [[ $recompute == none ]]; then
            expected=$hash
            numbers "$name" >"$folder/expected"
        fi
        numbers "$name" | cmp - "$folder/expected" || fail "$name: other numbers than without"
        must_equal "$name: state hash" "$expected" "$hash"
        memory[$recompute]=$(grep -m1 -A2 '"activations"' "$folder/$name.run/plan.json" |
            sed -nE 's/.*"bytes": ([0-9]+).*/\1/p')
    done
    [[ ${memory[none]} -gt ${memory[selective]} && ${memory[selective]} -gt ${memory[full]} ]] ||
        fail "$type: activations take ${memory[none]}, ${memory[selective]}, ${memory[full]} bytes: nothing is saved"
done
