#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A checkpoint saved by W ranks is loaded by W' ranks with the same state hash. By default a few pairs; with
# MUSTER_CAMPAIGN=1 all of {1, 2, 3, 4, 8}. The programs' own loader computes the hash from what the ranks hold.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

savers='1 8' loaders='3 4'
[[ -z ${MUSTER_CAMPAIGN:-} ]] || savers='1 2 3 4 8' loaders='1 2 3 4 8'
pairs=0
write_job tiny train.max_steps=3 checkpoint.save_interval=0
train 1 tiny
expected=$hash
for from in $savers; do
    train "$from" tiny
    must_equal "state hash on $from ranks" "$expected" "$hash"
    must_equal 'shards' "$from" "$(find "$folder/tiny.run/checkpoints" -name 'shard-*' | wc -l)"
    for to in $loaders; do
        resume "$to" tiny
        must_say 'resumed from the checkpoint of step 3'
        must_not_say '^step '
        must_equal "state hash, $from to $to ranks" "$expected" "$hash"
        pairs=$((pairs + 1))
    done
done
echo "$pairs pairs of numbers of ranks, equal hashes"
