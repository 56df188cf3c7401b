#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The promise everything else rests on: weights, optimizer state and every reported number are the same bits on 1, 2,
# 3, 4 and 8 ranks, for each model type and precision, with dropout, with several buckets and with evaluation.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# 60 images of 4 x 4 values and their labels below 7, from the same text.
printf '\0\0\10\3\0\0\0\74\0\0\0\4\0\0\0\4' >"$folder/some-images-idx3-ubyte"
head -c 960 "$folder/text" >>"$folder/some-images-idx3-ubyte"
printf '\0\0\10\1\0\0\0\74' >"$folder/some-labels-idx1-ubyte"
for ((i = 0; i < 60; i++)); do
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$((i % 7))"
done >>"$folder/some-labels-idx1-ubyte"

transformer=("data.val=$folder/text" eval.interval=5 eval.iters=5 train.max_steps=11 checkpoint.save_interval=0)
images=(model.type=mlp model.num_heads= model.vocab_size= model.num_classes=7 data.seq_len= data.format=idx
    "data.train=$folder/some-images-idx3-ubyte" "data.val=$folder/some-images-idx3-ubyte"
    eval.interval=6 eval.iters=7 optimizer.type=sgd optimizer.nesterov=true train.micro_batch_size=2)
large=(model.num_layers=3 model.hidden_size=96)
write_job gpt-fp32 "${transformer[@]}" "${large[@]}" model.dropout=0.1
write_job gpt-bf16 "${transformer[@]}" "${large[@]}" model.dropout=0.1 train.precision=bf16
write_job llama-fp32 "${transformer[@]}" model.type=llama model.num_heads=4 model.num_kv_heads=2 model.dropout=0.1
write_job llama-bf16 "${transformer[@]}" model.type=llama model.num_heads=4 model.num_kv_heads=2 train.precision=bf16
write_job mlp-fp32 "${images[@]}"
write_job mlp-bf16 "${images[@]}" train.precision=bf16

declare -A seen
for name in gpt-fp32 gpt-bf16 llama-fp32 llama-bf16 mlp-fp32 mlp-bf16; do
    train 1 "$name"
    expected=$hash
    numbers "$name" >"$folder/$name.expected"
    [[ -z ${seen[$hash]:-} ]] || fail "$name and ${seen[$hash]} have the same hash: it says nothing"
    seen[$hash]=$name
    for ranks in 2 3 4 8; do
        train "$ranks" "$name"
        numbers "$name" | cmp - "$folder/$name.expected" || fail "$name: other numbers on $ranks ranks"
        must_equal "$name: state hash on $ranks ranks" "$expected" "$hash"
    done
    echo "$name: $expected on 1, 2, 3, 4 and 8 ranks"
done
buckets=$(sed -n '/"buckets"/,/"memory"/p' "$folder/gpt-fp32.run/plan.json" | grep -c '^  \[$' || true)
[[ $buckets -ge 2 ]] || fail "the gpt has $buckets bucket(s): several are wanted here"
