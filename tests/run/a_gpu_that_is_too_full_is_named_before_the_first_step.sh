#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What does not fit beside the plan on a GPU (the plan itself, what NCCL allocates when ranks first talk, kernels that
# are loaded later) ends the job before its first step, with the numbers and what helps, and not as a lost peer. Over
# the emulated plug-in, whose GPU is as large as MUSTER_STANDIN_MEMORY says.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export MUSTER_SHARE_GPU=1
mib=$((1 << 20))

write_job small device=cuda comm.backend=nccl model.hidden_size=16 model.num_heads=2 data.seq_len=8 \
    train.global_batch_size=4 parallel.logical_workers=4 train.max_steps=2 checkpoint.save_interval=0

# too_full GPU_MIB PAIRS_MIB PATTERN
too_full() {
    MUSTER_STANDIN_MEMORY=$(($1 * mib)) MUSTER_NCCL_STANDIN_PAIRS=$(($2 * mib)) worker 2 small
    must_exit 2
    must_say "rank [01] .*: $3"
    must_say "What helps: a smaller train.micro_batch_size"
    must_not_say "first step"
}
too_full 200 1 "the planned .* MiB cannot be allocated: .*the libraries need 268435456"
too_full 400 200 "of the 400.00 MiB of its GPU .* MiB are left beside the planned .*kernels that are loaded later"
too_full 400 500 "of the 400.00 MiB of its GPU .* MiB are left beside the planned .*unhandled cuda error"

# NCCL fails already where it is set up: for want of memory, if there is little, and not when it lost a peer.
export MUSTER_NCCL_STANDIN_FAIL=ncclCommInitRankConfig:1:1
too_full 400 1 "of the 400.00 MiB of its GPU .* MiB are left beside the planned .*unhandled cuda error"
MUSTER_STANDIN_MEMORY=$((400 * mib)) MUSTER_NCCL_STANDIN_FAIL=ncclCommInitRankConfig:1:6 worker 2 small
must_exit 1
must_not_say "What helps"
MUSTER_STANDIN_MEMORY=$((8192 * mib)) worker 2 small
must_exit 1
must_not_say "What helps"
unset MUSTER_NCCL_STANDIN_FAIL

MUSTER_STANDIN_MEMORY=$((600 * mib)) MUSTER_NCCL_STANDIN_PAIRS=$((200 * mib)) train 2 small
