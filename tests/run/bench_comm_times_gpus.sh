#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# muster bench comm between GPUs: each rank takes one of its own, and every collective is measured on memory of theirs.
# Here over the emulated plug-in.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export MUSTER_STANDIN_DEVICES=2

for ranks in 1 2; do
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" bench comm -n "$ranks" --backend nccl --max 4096 --iterations 2 \
        >"$folder/out" 2>&1 </dev/null || status=$?
    must_exit 0
    must_say "^$ranks ranks? on 1 host"
    for operation in all_reduce reduce_scatter exact_reduce_scatter all_gather broadcast exchange; do
        must_say "^$operation +4096 +2 +[0-9.]+ "
    done
done
