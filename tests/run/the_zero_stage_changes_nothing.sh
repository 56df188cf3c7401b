#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What is shared out among the ranks is a matter of memory: the state hash and every reported number are those of one
# rank for ZeRO stages 0, 2 and 3 (the default, 1, has its own test) on 2, 3, 4 and 8 ranks, with even and uneven blocks,
# several sizes of bucket, with and without overlap, with dropout, with recompute and with evaluation. One model takes
# every stage on every number of ranks, the other models and precisions some; MUSTER_TEST_FULL=1 gives all to all.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

printf '\0\0\10\3\0\0\0\74\0\0\0\4\0\0\0\4' >"$folder/some-images-idx3-ubyte"
head -c 960 "$folder/text" >>"$folder/some-images-idx3-ubyte"
printf '\0\0\10\1\0\0\0\74' >"$folder/some-labels-idx1-ubyte"
for ((i = 0; i < 60; i++)); do
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$((i % 7))"
done >>"$folder/some-labels-idx1-ubyte"

# As many logical workers as slots: on 8 ranks one each, on fewer a tree of them.
usual=(train.max_steps=3 train.global_batch_size=8 checkpoint.save_interval=0)
transformer=("${usual[@]}" "data.val=$folder/text" eval.interval=2 eval.iters=5)
llama=("${transformer[@]}" model.type=llama model.num_heads=4 model.num_kv_heads=2)
images=("${usual[@]}" model.type=mlp model.num_heads= model.vocab_size= model.num_classes=7 data.seq_len=
    data.format=idx "data.train=$folder/some-images-idx3-ubyte" "data.val=$folder/some-images-idx3-ubyte"
    eval.interval=2 eval.iters=7 optimizer.type=sgd)
declare -A job=(
    [gpt-fp32]="model.num_layers=3 model.hidden_size=96 model.dropout=0.1"
    [gpt-bf16]="train.precision=bf16 model.tie_embeddings=false train.recompute=full"
    [llama-fp32]="model.tie_embeddings=true model.num_layers=1"
    [llama-bf16]="train.precision=bf16 model.num_layers=3 train.recompute=selective"
    [mlp-fp32]="model.num_layers=3 model.hidden_size=640"
    [mlp-bf16]="train.precision=bf16"
    # two slots for each logical worker: its gradient is added up in place
    [gpt-slots]="parallel.logical_workers=4 train.precision=bf16"
)
every="0:2 0:3 0:4 0:8 2:2 2:3 2:4 2:8 3:2 3:3 3:4 3:8"
declare -A chosen=([gpt-fp32]=$every [gpt-bf16]="0:4 2:3 3:8" [llama-fp32]="0:2 2:8 3:3" [llama-bf16]="2:4 3:2 3:8"
    [mlp-fp32]="0:3 2:4 3:8" [mlp-bf16]="2:3 3:4" [gpt-slots]="2:2 3:3")
if [[ ${MUSTER_TEST_FULL:-} == 1 ]]; then
    for name in "${!chosen[@]}"; do
        [[ $name == gpt-slots ]] || chosen[$name]=$every
    done
fi

# write NAME JOB [section.key=value ...]
write() {
    local name=$1 of=$2 base
    shift 2
    case $of in
    gpt-*) base=("${transformer[@]}") ;;
    llama-*) base=("${llama[@]}") ;;
    *) base=("${images[@]}") ;;
    esac
    # shellcheck disable=SC2086 # words
    write_job "$name" "${base[@]}" ${job[$of]} "$@"
}

for name in gpt-fp32 gpt-bf16 llama-fp32 llama-bf16 mlp-fp32 mlp-bf16 gpt-slots; do
    write "$name" "$name"
    train 1 "$name"
    expected=$hash
    numbers "$name" >"$folder/$name.expected"
    for pair in ${chosen[$name]}; do
        stage=${pair%:*} ranks=${pair#*:} overlap=true bucket_mb=1
        [[ $(((stage + ranks) % 3)) -ne 0 ]] || overlap=false
        [[ $(((stage + ranks) % 4)) -ne 0 ]] || bucket_mb=25
        write "$name-$stage" "$name" "parallel.zero_stage=$stage" "parallel.overlap_comm=$overlap" \
            "parallel.bucket_mb=$bucket_mb"
        train "$ranks" "$name-$stage"
        must_equal "$name: state hash, stage $stage on $ranks ranks" "$expected" "$hash"
        numbers "$name-$stage" | cmp - "$folder/$name.expected" ||
            fail "$name: other numbers with stage $stage on $ranks ranks"
    done
    echo "$name: $expected for stage:ranks ${chosen[$name]}"
done

# Two numbers have one sum, in whatever order the library adds: here the fast reduction has one result too.
expected=
for stage in 1 0 2 3; do
    write "fast-$stage" gpt-fp32 parallel.reduce=fast "parallel.zero_stage=$stage"
    train 2 "fast-$stage"
    must_equal "fast reduction, stage $stage" "${expected:=$hash}" "$hash"
done

# Units and buckets meet in every way only where there are several of both; the last run had buckets of 1 MiB.
buckets=$(sed -n '/"buckets"/,/"memory"/p' "$folder/gpt-fp32-3.run/plan.json" | grep -c '^  \[$' || true)
[[ $buckets -ge 2 ]] || fail "the gpt has $buckets bucket(s): several are wanted here"
