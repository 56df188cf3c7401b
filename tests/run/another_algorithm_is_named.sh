#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The libraries choose an algorithm for each shape, and it decides bits. A run keeps what was chosen in algorithms.txt;
# a rank for which another one was chosen is named, and so is a choice that is another after a resume.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export MUSTER_SHARE_GPU=1
unset MUSTER_CUBLASLT_STANDIN_TILE

# job STEPS
job() {
    write_job one device=cuda comm.backend=mpi model.hidden_size=16 model.num_heads=2 data.seq_len=8 \
        train.global_batch_size=4 parallel.logical_workers=4 "train.max_steps=$1" checkpoint.save_interval=1
}
chosen=$folder/one.run/algorithms.txt
weight='product 48 x 16 x 8 fp32 to fp32 a. added, .*: kind 66 tile'

job 1
train 2 one
must_not_say 'WARNING'
grep -q "^$weight 1 " "$chosen" || fail "no product of the weights in: $(cat "$chosen")"
LC_ALL=C sort -c "$chosen"

job 2
resume 2 one
must_not_say 'WARNING'

# Rank 1 gets other tiles for products of weights, and only for those.
job 3
status=0
mpirun --timeout "$deadline_s" -n 1 "$MUSTER_BIN/muster-worker" "$folder/one.yaml" : \
    -n 1 -x MUSTER_CUBLASLT_STANDIN_TILE=7 "$MUSTER_BIN/muster-worker" "$folder/one.yaml" \
    >"$folder/out" 2>&1 </dev/null || status=$?
must_exit 0
must_say 'WARNING: rank 1 does not compute as rank 0 does.*"product .* tile 7 .*", on rank 0 "product .* tile 1 '
must_not_say 'as they did before'

job 4
MUSTER_CUBLASLT_STANDIN_TILE=9 resume 2 one
must_say 'WARNING: the libraries do not compute as they did before.*"product .* tile 9 .*", before "product .* tile 1 '
must_not_say 'rank 1 does not'
grep -q "^$weight 9 " "$chosen" || fail "the new choice is not kept"
