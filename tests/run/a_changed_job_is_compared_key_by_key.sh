#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A job file that changed since the checkpoint: harmless changes are told and accepted; what changes the rest of the run
# is refused by name, before a step is done, unless the person says that it is meant.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job base train.max_steps=4
train 2 base
must_equal 'files that others can read' '' "$(find "$folder/base.run" -type f -perm /077)"
cp -a "$folder/base.run" "$folder/kept"

# changed KEY=VALUE ...: the same run with these keys changed, resumed from step 4.
changed() {
    rm -rf "$folder/base.run"
    cp -a "$folder/kept" "$folder/base.run"
    write_job base train.max_steps=6 "$@"
}

changed logging.interval=2
resume 1 base
must_say 'changed since the checkpoint: train.max_steps was 4 and is 6; logging.interval was 1 and is 2'
expected=$hash
write_job straight train.max_steps=6
train 1 straight
must_equal 'harmless changes' "$hash" "$expected"

# What the command line sets is a change of the file.
changed train.max_steps=4
resume 2 base --set train.max_steps=6 --set logging.interval=2
must_say 'changed since the checkpoint: train.max_steps was 4 and is 6; logging.interval was 1 and is 2'
must_equal 'the same changes on the command line' "$hash" "$expected"
grep -q '^  max_steps: 6$' "$folder/base.run/job.yaml" || fail 'the run does not keep what was set'
worker 2 base --set optimizer.lr=1e-3
must_exit 2
must_say 'was saved by another job: optimizer.lr was 0.003 and is 0.001'
worker 2 base --set train.stesp=6
must_exit 2
must_say '^--set train.stesp=6: train.stesp: unknown key; did you mean train.max_steps'

changed optimizer.lr=1e-3 optimizer.weight_decay=0.2
worker 2 base
must_exit 2
must_say 'was saved by another job: optimizer.lr was 0.003 and is 0.001; optimizer.weight_decay was .* and is 0.2'
must_say '--allow-change optimizer.lr,optimizer.weight_decay'
must_not_say '^step '
worker 2 base --allow-change optimizer.lr
must_exit 2
must_say 'another job: optimizer.weight_decay was'
must_not_say 'optimizer.lr was'
resume 2 base --allow-change optimizer.lr,optimizer.weight_decay
must_say 'resumed from the checkpoint of step 4'
must_say 'changed since the checkpoint: .*optimizer.lr was 0.003 and is 0.001'
[[ $hash != "$expected" ]] || fail 'the changed rate has changed nothing'
resume 1 base # the job of the newest checkpoint is now the changed one

# Files that change behind the same names are a change too: another shard that the glob finds, other content. A copy
# elsewhere on one host only is seen before the first step.
mkdir "$folder/shards"
cp "$folder/text" "$folder/shards/a.txt"
write_job shards train.max_steps=4 "data.train=$folder/shards/*.txt"
train 2 shards
head -c 5000 "$folder/text" >"$folder/shards/b.txt"
worker 2 shards
must_exit 2
must_say 'was saved by another job: the files of data.train had [0-9]+ samples in 1 file and have [0-9]+ in 2\. .*--allow-change data.train'
rm "$folder/shards/b.txt"
flip "$folder/shards/a.txt" 0
worker 2 shards
must_exit 2
must_say 'the files of data.train have other content'
resume 2 shards --allow-change data.train
must_say 'changed since the checkpoint: the files of data.train have other content'
mkdir "$folder/of-0" "$folder/of-1"
cp "$folder/text" "$folder/of-0/text"
head -c 5000 "$folder/text" >"$folder/of-1/text"
write_job apart data.train=text
apart_must_say() {
    status=0
    # shellcheck disable=SC2016 # expanded by the rank's shell
    mpirun --timeout "$deadline_s" -n 2 bash -c 'cd "$0/of-$OMPI_COMM_WORLD_RANK" && exec "$@"' "$folder" \
        "$MUSTER_BIN/muster-worker" "$folder/apart.yaml" >"$folder/out" 2>&1 </dev/null || status=$?
    must_exit 2
    must_say "^muster-worker: rank 1: $1"
    must_not_say '^step '
}
apart_must_say 'data.train: other files than on rank 0: [0-9]+ samples in 1 file, there [0-9]+ in 1$'
: >"$folder/of-1/text"
apart_must_say 'text: the file is empty$' # the other rank does not wait for it

# The length of the run is harmless until a decay ends with it.
write_job decays train.max_steps=4 scheduler.type=cosine
train 1 decays
write_job decays train.max_steps=6 scheduler.type=cosine
worker 1 decays
must_exit 2
must_say 'was saved by another job: train.max_steps was 4 and is 6'

# Checkpoints that lie elsewhere are found by whoever is given the run's folder.
write_job elsewhere train.max_steps=4 checkpoint.dir="$folder/disk 2"
train 1 elsewhere
"$MUSTER_BIN/muster" ckpt verify "$folder/elsewhere.run" >"$folder/out"
must_say '^step-000000004 +ok .*'"$hash"
"$MUSTER_BIN/muster" status "$folder/elsewhere.run" >"$folder/out"
must_say 'checkpoint +step-000000004$'
write_job elsewhere train.max_steps=5 checkpoint.dir="$folder/disk 3"
worker 1 elsewhere # would begin anew
must_exit 2
must_say "checkpoint.dir: $folder/disk 3 holds no checkpoint, but $folder/disk 2 does, where this run's were"
resume 1 elsewhere --resume never
"$MUSTER_BIN/muster" ckpt hash "$folder/elsewhere.run" >"$folder/out"
must_say "^$hash +step-000000005"

worker 1 base --allow-change optimizer.rate
must_exit 2
must_say '"optimizer.rate" is no key of a job'

# muster run hands the option on.
status=0
"$MUSTER_BIN/muster" run "$folder/decays.yaml" --allow-change train.max_steps --dry-run >"$folder/out" || status=$?
must_exit 0
must_say '--allow-change train.max_steps$'
