#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# device: cuda keeps the promise too: the same bits on any number of ranks, over NCCL and through host memory, with
# and without overlap, and after a resume on other ranks; and it computes what the CPU computes. Here over the
# emulated plug-in; with MUSTER_TEST_GPU=1 on the GPU of this machine, which all ranks share. There NCCL may refuse
# several ranks: with MUSTER_TEST_ACROSS=mpi all go without it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if [[ ${MUSTER_TEST_GPU:-0} == 1 ]]; then
    unset MUSTER_CUDA_PLUGIN
elif [[ -z ${MUSTER_CUDA_PLUGIN:-} ]]; then
    skip "built without CUDA"
fi
export MUSTER_SHARE_GPU=1
across=${MUSTER_TEST_ACROSS:-nccl}

printf '\0\0\10\3\0\0\0\74\0\0\0\4\0\0\0\4' >"$folder/some-images-idx3-ubyte"
head -c 960 "$folder/text" >>"$folder/some-images-idx3-ubyte"
printf '\0\0\10\1\0\0\0\74' >"$folder/some-labels-idx1-ubyte"
head -c 60 /dev/zero | tr '\0' '\3' >>"$folder/some-labels-idx1-ubyte"

small=(model.hidden_size=16 model.num_heads=2 data.seq_len=8 train.global_batch_size=4 parallel.logical_workers=4
    train.max_steps=3 checkpoint.save_interval=2)
images=(model.type=mlp model.num_heads= model.vocab_size= model.num_classes=7 data.seq_len= data.format=idx
    "data.train=$folder/some-images-idx3-ubyte" optimizer.type=sgd)
# heads of 8 without dropout are the library's in 16 bits; here two query heads share a key and value head
llama=(model.type=llama model.num_heads=2 model.num_kv_heads=1 data.seq_len=40)

# write_jobs NAME [KEY=VALUE ...]: the same job for the CPU, for NCCL, and through host memory.
write_jobs() {
    local name=$1
    shift
    write_job "$name-cpu" "${small[@]}" "$@"
    write_job "$name-nccl" "${small[@]}" device=cuda comm.backend=nccl "$@"
    write_job "$name-mpi" "${small[@]}" device=cuda comm.backend=mpi "$@"
}
write_jobs gpt-fp32
write_jobs gpt-bf16 train.precision=bf16 model.dropout=0.1
write_jobs llama-bf16 "${llama[@]}" train.precision=bf16 train.global_batch_size=8
write_jobs mlp-fp32 "${images[@]}"
write_job gpt-fp16 "${small[@]}" device=cuda comm.backend="$across" train.precision=fp16 train.initial_loss_scale=4194304 \
    train.loss_scale_window=2
# no overflow, another scale each step, and an optimizer that a forgotten one would not escape: Adam's moves know none
write_job gpt-sgd-fp16 "${small[@]}" device=cuda comm.backend="$across" train.precision=fp16 \
    train.initial_loss_scale=1024 train.loss_scale_window=1 optimizer.type=sgd optimizer.lr=0.5
write_job gpt-sgd-cpu "${small[@]}" optimizer.type=sgd optimizer.lr=0.5
write_job gpt-late "${small[@]}" device=cuda comm.backend="$across" parallel.overlap_comm=false

same_hash() { must_equal "$1" "$expected" "$hash"; }

# The losses of a run, or another number of each step, one a line.
values() { numbers "$1" | sed -nE "s/.*\"${2:-loss}\": ([0-9.e-]+)(,.*)?\$/\1/p"; }

# close_values A B DIFFERENCE [KEY]: of each step, relative.
close_values() {
    paste <(values "$1" "${4:-}") <(values "$2" "${4:-}") | awk -v most="$3" '
        { difference = ($1 - $2) / $2; if (difference < 0) difference = -difference; if (difference > most) bad = 1 }
        END { exit bad || NR == 0 }' || fail "$1 and $2: ${4:-loss} differs by more than $3"
}

for name in gpt-fp32 gpt-bf16 llama-bf16 mlp-fp32; do
    train 1 "$name-cpu"
    train 1 "$name-$across"
    expected=$hash
    [[ $name == *fp32 ]] && most="1e-5 1e-4" || most="1e-3 2e-2"
    close_values "$name-$across" "$name-cpu" "${most% *}"
    close_values "$name-$across" "$name-cpu" "${most#* }" grad_norm
    train 2 "$name-$across" && same_hash "$name on 2 ranks over $across"
    train 3 "$name-mpi" && same_hash "$name on 3 ranks through host memory"
    echo "$name: $expected on 1, 2 and 3 ranks"
done

train 1 "gpt-fp32-$across"
expected=$hash
train 4 "gpt-fp32-$across" && same_hash "gpt-fp32 on 4 ranks over $across"
train 2 gpt-late && same_hash "gpt-fp32 without overlap"
train 2 gpt-fp32-mpi
must_say "ranks talk over .*host memory"
same_hash "gpt-fp32 on 2 ranks through host memory"

# From the checkpoint in the middle, on other ranks.
rm -rf "$folder/gpt-fp32-mpi.run/checkpoints/step-000000003"
resume 3 gpt-fp32-mpi
must_say "resumed from the checkpoint of step 2"
same_hash "gpt-fp32, saved by 2 ranks and resumed by 3"

# A CPU's checkpoint goes on with a GPU, and the run says what that means.
rm -rf "$folder/gpt-fp32-cpu.run/checkpoints/step-000000003"
sed 's/^device: .*/device: cuda/' "$folder/gpt-fp32-cpu.yaml" >"$folder/moved.yaml"
resume 2 moved
must_say "resumed from the checkpoint of step 2"

# fp16: the first scale overflows, steps are skipped alike on every rank, and the scale goes through a checkpoint.
train 1 gpt-fp16
expected=$hash
grep -q '"skipped": true' "$folder/gpt-fp16.run/metrics.jsonl" || fail "no step was skipped"
train 2 gpt-fp16 && same_hash "gpt-fp16 on 2 ranks"
rm -rf "$folder/gpt-fp16.run/checkpoints/step-000000003"
resume 3 gpt-fp16 && same_hash "gpt-fp16, resumed on 3 ranks"

train 1 gpt-sgd-cpu
train 1 gpt-sgd-fp16
close_values gpt-sgd-fp16 gpt-sgd-cpu 1e-3
close_values gpt-sgd-fp16 gpt-sgd-cpu 2e-2 grad_norm

# A rank that fails by itself waits for nobody, and the job ends with what it says; no watchdog has to find out.
write_job failing "${small[@]}" device=cuda comm.backend="$across" train.max_steps=30 checkpoint.save_interval=0 \
    fault.watchdog=false
MUSTER_FAULT=data:1:11:eio worker 2 failing
must_exit 1
must_say "rank 1 .*data"
