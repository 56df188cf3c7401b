#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Text from a checkpoint is a function of the checkpoint and the options: the same twice, whatever number of ranks wrote
# it; another seed changes it, except at temperature 0. A damaged checkpoint generates nothing.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job tiny train.max_steps=30 checkpoint.save_interval=15
train 2 tiny

# say FILE OPTION ...: 60 bytes after a prompt.
say() {
    local file=$1
    shift
    "$MUSTER_BIN/muster-worker" --generate "$source" --prompt 'static int ' --tokens 60 "$@" \
        >"$folder/$file" 2>"$folder/out" || fail "generate $* failed: $(<"$folder/out")"
}

source=$folder/tiny.run
say sampled --seed 7
must_equal 'bytes printed' 72 "$(wc -c <"$folder/sampled")"
must_equal 'the prompt' 'static int ' "$(head -c 11 "$folder/sampled")"
say again --seed 7
cmp "$folder/sampled" "$folder/again" || fail 'the same seed gives another text'
say other --seed 8
! cmp -s "$folder/sampled" "$folder/other" || fail 'another seed gives the same text'
say likely --temperature 0 --seed 7
say again --temperature 0 --seed 8
cmp "$folder/likely" "$folder/again" || fail 'the seed matters at temperature 0'
say again --top-k 1 --seed 9
cmp "$folder/likely" "$folder/again" || fail 'the only one of the top 1 is not the most likely'

train 3 tiny
source=$folder/tiny.run/checkpoints/step-000000030
say again --seed 7
cmp "$folder/sampled" "$folder/again" || fail 'the number of ranks that wrote the checkpoint matters'
source=$folder/tiny.run/checkpoints/step-000000015
say again --seed 7
! cmp -s "$folder/sampled" "$folder/again" || fail 'an earlier checkpoint gives the same text'

flip "$folder/tiny.run/checkpoints/step-000000030/shard-00002-of-00003.safetensors" 3000
status=0
"$MUSTER_BIN/muster-worker" --generate "$folder/tiny.run/checkpoints/step-000000030" >"$folder/text-out" \
    2>"$folder/out" || status=$?
must_exit 1
must_say 'shard-00002-of-00003.safetensors'
must_equal 'text from a damaged checkpoint' '' "$(<"$folder/text-out")"

source=$folder/tiny.run
say from-older --seed 7
must_say "step-000000030 is not used: .*shard-00002-of-00003.safetensors"
cmp "$folder/from-older" "$folder/again" || fail 'the older checkpoint was not taken instead'

status=0
"$MUSTER_BIN/muster-worker" --generate "$folder/nowhere" >"$folder/out" 2>&1 || status=$?
must_exit 2
must_say 'nowhere'

status=0
"$MUSTER_BIN/muster-worker" --generate "$folder/tiny.run" >/dev/full 2>"$folder/out" || status=$?
must_exit 1
must_say 'write the output: No space left on device'
