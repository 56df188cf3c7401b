#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Two ranks on one GPU are a mistake unless both were told (MUSTER_SHARE_GPU); where each has its own, having been told
# changes nothing. Ranks on parts of one GPU go around NCCL, which does not join them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"

write_job some model.hidden_size=16 model.num_heads=2 model.num_layers=1 data.seq_len=8 train.global_batch_size=2 \
    parallel.logical_workers=2 train.max_steps=1 device=cuda
train 1 some
expected=$hash

rm -rf "$folder/some.run"
worker 2 some
must_exit 2
must_say 'ranks 0 and 1 on .* have the same GPU, GPU-'

# One was told and the other was not.
# shellcheck disable=SC2016 # expanded by the rank's shell
status=0
mpirun --timeout "$deadline_s" -n 2 sh -c 'export MUSTER_SHARE_GPU=$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
    "$MUSTER_BIN/muster-worker" "$folder/some.yaml" >"$folder/out" 2>&1 </dev/null || status=$?
must_exit 2
must_say 'ranks 0 and 1 on .* have the same GPU, GPU-'

MUSTER_SHARE_GPU=1 train 2 some
must_equal "sharing" "$expected" "$hash"
must_say 'ranks share a GPU'
must_say 'ranks talk over NCCL'

export MUSTER_STANDIN_DEVICES=2
MUSTER_SHARE_GPU=1 train 2 some
must_equal "not sharing" "$expected" "$hash"
must_not_say 'share'
must_say 'ranks talk over NCCL'

export MUSTER_STANDIN_MIG=1
train 2 some
must_equal "on parts of a GPU" "$expected" "$hash"
must_say 'ranks talk over .*through host memory'
rm -rf "$folder/some.run"
worker 2 some --set comm.backend=nccl
must_exit 2
must_say 'parts of one GPU \(MIG\)'
