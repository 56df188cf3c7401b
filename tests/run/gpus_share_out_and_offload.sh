#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What ranks on GPUs share out is a matter of memory there too, and so is where the optimizer's state lies: with each
# ZeRO stage the hash is that of one GPU; with the state in host memory, updated by the CPU, it is one hash on any
# number of GPUs, near that of the GPU's own update; and on the CPU the key changes nothing. Runs on the CUDA back end
# that MUSTER_CUDA_PLUGIN names: the tests have one over emulated kernels and stand-ins.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "MUSTER_CUDA_PLUGIN names no CUDA back end"
export MUSTER_STANDIN_DEVICES=${MUSTER_STANDIN_DEVICES:-3}

small=(train.max_steps=2 train.global_batch_size=4 parallel.logical_workers=4 model.hidden_size=32 model.num_heads=2
    data.seq_len=16 checkpoint.save_interval=0)

last_loss() { sed -nE 's/.*"step": 2, "loss": ([0-9.eE+-]+),.*/\1/p' "$folder/$1.run/metrics.jsonl"; }

for precision in fp32 bf16 fp16; do
    gpu=("${small[@]}" device=cuda "train.precision=$precision")
    write_job gpu "${gpu[@]}"
    train 1 gpu
    expected=$hash
    near=$(last_loss gpu)
    [[ $precision == bf16 ]] && stages="0 2 3" || stages=3
    for stage in $stages; do
        write_job "gpu-$stage" "${gpu[@]}" "parallel.zero_stage=$stage"
        train 3 "gpu-$stage"
        must_equal "$precision: state hash, stage $stage on 3 GPUs" "$expected" "$hash"
    done
    write_job offload "${gpu[@]}" parallel.offload=optimizer
    train 1 offload
    expected=$hash
    loss=$(last_loss offload)
    awk -v a="$near" -v b="$loss" 'BEGIN { exit !(a > 0 && b > 0 && (a - b) ^ 2 < (1e-3 * a) ^ 2) }' ||
        fail "$precision: loss $loss with offload, $near without"
    [[ $precision == bf16 ]] && stages="1 3" || stages=2
    for stage in $stages; do
        write_job "offload-$stage" "${gpu[@]}" parallel.offload=optimizer "parallel.zero_stage=$stage"
        train 3 "offload-$stage"
        must_equal "$precision: state hash with offload, stage $stage on 3 GPUs" "$expected" "$hash"
    done
    echo "$precision: loss $near, with offload $loss"
done

# Half of a run with offload, half without: the checkpoint knows nothing of it.
write_job half "${small[@]}" device=cuda train.max_steps=1 parallel.offload=optimizer
train 2 half
write_job half "${small[@]}" device=cuda parallel.zero_stage=3
resume 3 half
must_say "resumed from the checkpoint of step 1"

# A host whose processors round differently is told also where the GPUs are alike.
status=0
# shellcheck disable=SC2016 # expanded by the rank's shell
mpirun --timeout "$deadline_s" -n 2 bash -c 'set=; [[ $OMPI_COMM_WORLD_RANK != 1 ]] || set="--instruction-set baseline"; exec "$@" $set' \
    - "$MUSTER_BIN/muster-worker" "$folder/offload.yaml" --set "output_dir=$folder/odd.run" >"$folder/out" 2>&1 </dev/null || status=$?
must_exit 0
must_say 'WARNING: 1 of 2 ranks round differently \(rank 1 is cuda .*, updates by cpu baseline '

write_job refused "${small[@]}" device=cuda parallel.offload=optimizer parallel.zero_stage=0
worker 2 refused
must_exit 2
must_say "parallel.offload: optimizer with parallel.zero_stage: 0"

write_job cpu "${small[@]}"
train 1 cpu
expected=$hash
write_job cpu "${small[@]}" parallel.offload=optimizer
train 2 cpu
must_equal "state hash on the CPU with offload" "$expected" "$hash"
