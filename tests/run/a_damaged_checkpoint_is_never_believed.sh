#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Whatever happens to the newest checkpoint's files, the next start says what is wrong, takes the older one, and ends
# in the same bits. When every checkpoint is damaged it refuses to begin again from nothing.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job tiny checkpoint.save_interval=3 train.max_steps=9
train 3 tiny
expected=$hash
numbers tiny >"$folder/expected"
cp -a "$folder/tiny.run" "$folder/good"
newest=$folder/tiny.run/checkpoints/step-000000009
shard=$newest/shard-00001-of-00003.safetensors
manifest=$newest/MANIFEST.json

# damaged REASON COMMAND ...: after the command the checkpoint of step 6 must be used.
damaged() {
    local reason=$1
    shift
    rm -rf "$folder/tiny.run"
    cp -a "$folder/good" "$folder/tiny.run"
    "$@"
    resume 2 tiny
    must_say "checkpoint .*step-000000009.* is not used: .*$reason"
    must_say 'resumed from the checkpoint of step 6'
    must_equal "state hash after '$*'" "$expected" "$hash"
    numbers tiny | cmp - "$folder/expected" || fail "other numbers after '$*'"
    rm -rf "$folder/tiny.run/checkpoints"/step-00000000[36]
    resume 1 tiny
    must_say 'resumed from the checkpoint of step 9' # it was written again, whole
}

size=$(stat -c %s "$shard")
damaged 'shard-00001-of-00003.safetensors' flip "$shard" $((size / 2))
damaged 'shard-00001-of-00003.safetensors' flip "$shard" 0
damaged 'shard-00001-of-00003.safetensors' flip "$shard" $((size - 1))
damaged 'shard-00001-of-00003.safetensors' truncate -s $((size - 1)) "$shard"
damaged 'shard-00001-of-00003.safetensors' rm "$shard"
damaged 'shard-00001-of-00003.safetensors' cp "$newest/shard-00002-of-00003.safetensors" "$shard"
damaged 'MANIFEST.json' flip "$manifest" $(($(stat -c %s "$manifest") / 2))
damaged 'MANIFEST.json' truncate -s 100 "$manifest"
damaged '' rm "$manifest"
damaged 'shard' cp "$folder/good/checkpoints/step-000000006/shard-00001-of-00003.safetensors" "$shard"

rm -rf "$folder/tiny.run"
cp -a "$folder/good" "$folder/tiny.run"
for step in 3 6 9; do
    flip "$folder/tiny.run/checkpoints/step-00000000$step/shard-00000-of-00003.safetensors" 2000
done
worker 2 tiny
must_exit 1
must_say 'no checkpoint in .* can be used, 3 damaged'
must_not_say '^step '
