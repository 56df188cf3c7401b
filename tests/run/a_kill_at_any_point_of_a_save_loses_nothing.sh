#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A rank is killed at each named point of the third save, into the shared folder or onto the nodes, the committing rank
# or another. What was acknowledged before is there and verifies, the run goes on from it or from something newer, and
# ends as if nothing had happened. By default the two roles take turns; MUSTER_CAMPAIGN=1 kills both at every point.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

common=(model.hidden_size=32 model.num_heads=2 data.seq_len=16 train.max_steps=6)
write_job plain "${common[@]}" checkpoint.save_interval=0
train 1 plain
expected=$hash
cases=0

# The newest step that the run told to be saved.
acknowledged() {
    sed -nE 's/^\{"step": ([0-9]+), "checkpoint_ms".*/\1/p' "$folder/$1.run/metrics.jsonl" | sort -n | tail -n 1
}

# kill_at POINT RANK OPTION ...
kill_at() {
    local point=$1 rank=$2 newest from
    shift 2
    rm -rf "$folder/tiny.run" "$folder/nodes"
    write_job tiny "${common[@]}" checkpoint.save_interval=1 "$@"
    MUSTER_FAULT=$point:$rank:3:kill worker 2 tiny
    must_exit 137
    newest=$(acknowledged tiny)
    resume 2 tiny
    from=$(sed -nE 's/^resumed from the checkpoint of step ([0-9]+).*/\1/p' "$folder/out")
    ((${from:-0} >= ${newest:-0})) || fail "killed at $point on rank $rank: step $newest was saved, resumed from ${from:-0}"
    must_equal "state hash, killed at $point on rank $rank" "$expected" "$hash"
    "$MUSTER_BIN/muster" ckpt verify "$folder/tiny.run" >"$folder/out" || fail "after a kill at $point on rank $rank"
    must_equal 'temporary files' '' \
        "$(find "$folder/tiny.run/checkpoints" "$folder/nodes" \( -name '*.tmp' -o -name '.*-step-*' \) 2>/dev/null)"
    cases=$((cases + 1))
}

turn=0
# kill_everywhere POINT OPTION ...
kill_everywhere() {
    local point=$1
    shift
    if [[ -n ${MUSTER_CAMPAIGN:-} ]]; then
        kill_at "$point" 0 "$@"
        kill_at "$point" 1 "$@"
    else
        kill_at "$point" $((turn++ % 2)) "$@"
    fi
}

for point in ckpt_copy ckpt_look ckpt_space ckpt_folder ckpt_shard ckpt_vote ckpt_manifest ckpt_commit ckpt_tidy; do
    kill_everywhere "$point"
done
for point in near_shard near_exchange near_manifest near_name near_tidy; do
    kill_everywhere "$point" checkpoint.local_dir="$folder/nodes/%r" checkpoint.flush_every=4
done
echo "$cases kills, nothing lost"
