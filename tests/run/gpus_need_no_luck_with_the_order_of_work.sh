#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The streams of a GPU may run their work in any order that events leave open, and a device shows but one of them. Here
# the runtime's stand-in takes the worst for what was forgotten: a stream runs when somebody waits for it, and nothing
# before that which no event makes it wait for (MUSTER_STANDIN_DEFER: 1), or the stream that computes runs ahead (2), or that
# of the collectives (3), or either by chance (a seed). Memory that is being sent may not be written either.
# With each way of sharing out and of talking, whole trainings must come to the state of one rank whose work ran as the
# program asked for it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export MUSTER_STANDIN_DEVICES=3

small=(model.hidden_size=16 model.num_heads=2 model.num_layers=3 data.seq_len=8 train.global_batch_size=6
    parallel.logical_workers=6 train.max_steps=3 checkpoint.save_interval=2 device=cuda train.precision=bf16
    "data.val=$folder/text" eval.interval=2 eval.iters=1)

# any_order RANKS ORDER NAME [KEY=VALUE ...]: the state is the expected one.
any_order() {
    local ranks=$1 order=$2 name=$3
    shift 3
    write_job "$name" "${small[@]}" "$@"
    MUSTER_STANDIN_DEFER=$order train "$ranks" "$name"
    must_equal "state hash, $name on $ranks ranks, order $order" "$expected" "$hash"
}

write_job one "${small[@]}"
train 1 one
expected=$hash
any_order 1 1 alone
any_order 2 1 stage-0 parallel.zero_stage=0 fault.check_interval=2
any_order 2 2 stage-1 parallel.zero_stage=1
any_order 2 2 stage-2 parallel.zero_stage=2
any_order 3 1 stage-3 parallel.zero_stage=3
any_order 2 2 stage-3 parallel.zero_stage=3
any_order 2 3 stage-3 parallel.zero_stage=3
any_order 3 4 stage-3 parallel.zero_stage=3
any_order 2 2 late parallel.overlap_comm=false
any_order 2 5 through-host comm.backend=mpi parallel.zero_stage=3

# In several buckets, whose weights come and whose gradients go between recordings. From the third step on all is recorded.
small+=(model.hidden_size=128 train.max_steps=4)
write_job one "${small[@]}"
train 1 one
expected=$hash
any_order 2 2 buckets parallel.zero_stage=1
any_order 3 1 buckets-2 parallel.zero_stage=2
any_order 2 3 buckets-3 parallel.zero_stage=3
small+=(model.hidden_size=16 train.max_steps=3)

write_job one "${small[@]}" parallel.offload=optimizer
train 1 one
expected=$hash
any_order 2 2 offload parallel.offload=optimizer
