#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# One of three ranks on GPUs dies within each kind of call of NCCL, from set-up to the end. NCCL tells the others of it at
# once, and long before mpirun does: no rank may take the blame for it, the event log names the dead one and no other, and
# other ranks go on to the same hash. A rank that fails by itself says why before anything is released, also where the GPU is
# stuck behind an operation that no abort ends: then cudaFree waits for ever.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export OMPI_MCA_odls_base_sigkill_timeout=1 # time for last words
events=$folder/gpus.run/events.jsonl
small=(model.hidden_size=16 model.num_heads=2 data.seq_len=8 train.global_batch_size=4 parallel.logical_workers=4
    train.max_steps=4 checkpoint.save_interval=1 device=cuda comm.backend=nccl)
export MUSTER_SHARE_GPU=1
write_job gpus "${small[@]}"
train 1 gpus
expected=$hash

# die RANK CALL NTH: how it is told; then two ranks go on.
die() {
    local rank=$1 call=$2 nth=$3
    rm -rf "$folder/gpus.run"
    MUSTER_NCCL_STANDIN_RANK=$rank MUSTER_NCCL_STANDIN_FAIL=die:$call:$nth worker 3 gpus
    [[ $status -eq 137 || $status -eq 76 ]] || must_exit 137 # 76 where mpirun is slow to see who died first
    grep -Eq "\"kind\": \"death\", \"rank\": $rank, " "$events" || fail "$call: not rank $rank but: $(<"$events")"
    must_equal "$call: events" 1 "$(wc -l <"$events")"
    must_say "rank $rank \\([^)]+\\) died"
    must_not_say 'muster-worker: rank '
    sed -nE 's/.*"phase": "([a-z ]+)", "text": "([^"]*)".*/\1: \2/p' "$events"
}
die 1 ncclCommInitRankConfig 1
die 2 ncclAllReduce 1
die 0 ncclGroupEnd 3
die 2 ncclAllGather 3
die 1 ncclRecv 7
resume 2 gpus
must_equal "after a death in a step, on 2 ranks" "$expected" "$hash"
die 1 ncclCommFinalize 1
resume 2 gpus
must_equal "after a death in the end" "$expected" "$hash"

# One that fails by itself, with an abort of NCCL that never ends.
rm -rf "$folder/gpus.run"
MUSTER_FAULT=data:1:3:eio MUSTER_NCCL_STANDIN_RANK=1 MUSTER_NCCL_STANDIN_FAIL=hang:ncclCommAbort:1 worker 3 gpus
must_exit 1
must_say 'muster-worker: rank 1 .*data'
must_not_say 'muster-worker: rank [02] '
must_equal "events" 1 "$(wc -l <"$events")"
grep -Eq '"kind": "death", "rank": 1, .*data' "$events" || fail "not rank 1's data but: $(<"$events")"
resume 2 gpus
must_equal "after a GPU that was stuck" "$expected" "$hash"
