#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# When a checkpoint cannot be written, training goes on to its end, each failure names the file and the cause, the older
# checkpoints stay as they were, and the exit code is 1, because the last state is not on disk. Two ways to run out: a
# limit on the size of a file that one of two ranks has, and, where a file system may be mounted, one with room for two
# checkpoints. The last save is tried again where the job says so, until somebody has made room.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# What the limited rank may write lies between what Open MPI needs for itself and a shard (6 MB).
export OMPI_MCA_btl_vader_segment_size=$((4 << 20))
limit_kib=4608

# limited RANKS NAME: as worker, but rank 1 can write no file above the limit.
limited() {
    status=0
    # shellcheck disable=SC2016 # expanded by the rank's shell
    mpirun --timeout "$deadline_s" -n "$1" \
        bash -c '[[ $OMPI_COMM_WORLD_RANK != 1 ]] || ulimit -f "$0"; exec "$@"' "$limit_kib" \
        "$MUSTER_BIN/muster-worker" "$folder/$2.yaml" >"$folder/out" 2>&1 </dev/null || status=$?
}

large=(model.hidden_size=208 model.num_heads=4 data.seq_len=16 train.global_batch_size=8 checkpoint.retry_last=0)
write_job whole "${large[@]}" train.max_steps=16 checkpoint.save_interval=0
train 1 whole
expected=$hash

# must_end_unsaved CAUSE STEP ...: these steps' checkpoints failed, those of 4 and 8 are untouched.
must_end_unsaved() {
    local cause=$1 step
    shift
    must_exit 1
    for step in "$@"; do
        must_say "^step $step +WARNING: checkpoint not saved, training goes on: .*step-0000000$step.*$cause"
        must_equal "events of step $step" 1 "$(grep -c "\"kind\": \"checkpoint_failed\".*\"step\": $step, .*$cause" \
            "$folder/tiny.run/events.jsonl")"
    done
    must_say '^finished at step 16 of 16'
    must_say '^muster-worker: the last checkpoint \(step 16\) could not be saved'
    must_not_say MPI_ABORT
    must_say "state hash +$expected"
    must_equal 'checkpoints' 'step-000000004 step-000000008' "$(checkpoints tiny | xargs)"
    must_equal 'what else is left' '' "$(find "$folder/tiny.run/checkpoints" -name '*000012*' -o -name '*000016*')"
}

write_job tiny "${large[@]}" train.max_steps=8
train 2 tiny
find "$folder/tiny.run/checkpoints" -type f -exec sha256sum {} + | sort >"$folder/before"
write_job tiny "${large[@]}" train.max_steps=16
limited 2 tiny
must_end_unsaved 'shard-00001-of-00002.safetensors.*File too large' 12 16
find "$folder/tiny.run/checkpoints" -type f -exec sha256sum {} + | sort | cmp - "$folder/before" ||
    fail 'the older checkpoints have changed'
resume 3 tiny
must_say 'resumed from the checkpoint of step 8'
must_equal 'state hash once there is room' "$expected" "$hash"

# The rest needs a file system of its own: this script again, where mounting is allowed and nobody else sees it.
own_mounts=(unshare --mount)
[[ $(id -u) -eq 0 ]] || own_mounts+=(--map-root-user)
small_disk() {
    rm -rf "$folder/tiny.run"
    mkdir -p "$folder/tiny.run/checkpoints"
    mount -t tmpfs -o size=30m tmpfs "$folder/tiny.run/checkpoints"
    worker 2 tiny
    must_end_unsaved 'No space left on device' 12 16
    must_not_say '^WARNING: a checkpoint takes'
    sed -i 's/retry_last: 0/retry_last: 1h/' "$folder/tiny.yaml"
    start 2 tiny
    await '^step 16  the last checkpoint is tried again every 5 s, 720 times: make room in '
    must_say '^WARNING: a checkpoint takes .* are free in .*/checkpoints: no save can succeed before there is room'
    mount -o remount,size=60m "$folder/tiny.run/checkpoints"
    await '^step 16  saved$'
    await_end
    must_exit 0
    must_equal 'the last try' "$expected" "$(sed -nE 's/^ *state hash +([0-9a-f]{32})$/\1/p' "$folder/out")"
    rm -rf "$folder/tiny.run/checkpoints"/step-000000016
    mount -o remount,size=60m "$folder/tiny.run/checkpoints"
    resume 2 tiny
    must_say 'resumed from the checkpoint of step 8'
    must_equal 'state hash once there is room' "$expected" "$hash"
    mount -o remount,ro "$folder/tiny.run/checkpoints"
    worker 2 tiny
    must_exit 2
    must_say '^muster-worker: checkpoint.dir: nothing can be written to .*/checkpoints: Read-only file system$'
}
if "${own_mounts[@]}" mount -t tmpfs tmpfs "$folder" 2>/dev/null; then
    export -f small_disk worker resume start await await_unless_over await_end fail must_exit must_say must_not_say must_equal must_end_unsaved checkpoints
    export folder deadline_s expected
    "${own_mounts[@]}" bash -euo pipefail -c small_disk
else
    echo 'no file system may be mounted here: only the limited file size was tested'
fi
