#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The scripts in scripts/slurm, submitted as they are: one node, two nodes, a sweep, and a chain of three whose first
# link is stopped by the signal before its end. Each trains what one undisturbed rank trains.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

slurm_start 2
export MUSTER=$MUSTER_BIN/muster
scripts=$MUSTER_SOURCE/scripts/slurm
mkdir "$folder/jobs"
cd "$folder/jobs"

# sbatch WORD…: the job's number in $id, its log in $log.
batch() {
    id=$(sbatch --parsable "$@") || fail "sbatch refused: $*"
    log=$folder/jobs/muster-$id.log
}

must_complete() {
    await_state "$id" "$log" COMPLETED FAILED
    must_equal "$1: state" COMPLETED "$(job_field "$id" JobState)"
    must_equal "$1: state hash" "$2" "$(logged_hash "$log")"
}

# options_of FILE: the names of sbatch's options in a batch script.
options_of() { sed -nE 's/^#SBATCH "?--([a-z-]+).*/\1/p' "$1" | sort; }

# What `muster submit` writes and what the scripts hold are the same options, but for where a submission starts.
write_job like slurm.time=60 slurm.signal_margin=120
while read -r script nodes; do
    muster submit "$folder/like.yaml" --dry-run --set slurm.nodes="$nodes"
    must_exit 0
    must_equal "options of $script" "$(options_of "$folder/out" | grep -vx chdir)" "$(options_of "$scripts/$script")"
    must_say "^#SBATCH $(grep -o -- '--signal=.*' "$scripts/$script")\$"
done <<'SCRIPTS'
single_node.sh 1
multi_node.sh 2
array_sweep.sh 1
SCRIPTS

write_job alone
undisturbed alone
for name in one two a b chain; do write_job "$name"; done
write_job chain train.max_steps=1000000 checkpoint.save_interval=1000000

batch "$scripts/single_node.sh" "$folder/one.yaml"
one=("$id" "$log")
batch "$scripts/multi_node.sh" "$folder/two.yaml"
two=("$id" "$log")
batch --array=0-1 "$scripts/array_sweep.sh" "$folder/a.yaml" "$folder/b.yaml"
array=$id
id=${one[0]} log=${one[1]} && must_complete "single_node.sh" "$hash"
id=${two[0]} log=${two[1]} && must_complete "multi_node.sh" "$hash"
grep -q 'on 4 ranks' "$log" || fail_log "$log" "two nodes of two ranks are four"
for task in 0 1; do
    id=${array}_$task log=$folder/jobs/muster-${array}_$task.log
    await_log "$log" 'state hash'
    must_equal "array_sweep.sh, task $task" "$hash" "$(logged_hash "$log")"
done

mapfile -t links < <("$scripts/chain.sh" "$folder/chain.yaml" 3 | sed -nE 's/^link .*: job ([0-9]+)$/\1/p')
must_equal "links" 3 "${#links[@]}"
scontrol hold "${links[1]}" # until the end is within its reach
log=$folder/jobs/muster-${links[0]}.log
await_log "$log" '^step [0-9]+/'
scancel --batch --signal=USR1 "${links[0]}"
await_log "$log" 'stopped and saved at step'
steps=$(($(sed -nE 's/.*stopped and saved at step ([0-9]+) of.*/\1/p' "$log" | tail -n 1) + 5))
sed -i "s/max_steps: .*/max_steps: $steps/" "$folder/chain.yaml"
scontrol release "${links[1]}"
write_job alone train.max_steps="$steps" checkpoint.save_interval=0
undisturbed alone
for link in 1 2; do
    id=${links[$link]} log=$folder/jobs/muster-${links[$link]}.log
    must_complete "link $((link + 1)) of the chain" "$hash"
done
