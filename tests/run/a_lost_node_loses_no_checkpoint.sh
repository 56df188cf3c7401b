#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Checkpoints on the nodes' own disks, every rank playing a node with a folder of its own: a run that died goes on from
# them, also when one node's folder is gone or one of its files damaged, bit for bit. When two neighbours are gone the
# shared folder's older checkpoint is used, and the reason told.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

local_dir=$folder/nodes/%h-%r
common=(model.hidden_size=32 model.num_heads=2 data.seq_len=16)
write_job plain "${common[@]}" checkpoint.save_interval=0 train.max_steps=12
train 1 plain
expected=$hash

options=("${common[@]}" checkpoint.save_interval=2 checkpoint.flush_every=3 checkpoint.local_dir="$local_dir")
node() { echo "$folder/nodes/$(hostname)-$1"; }

# A run killed after the checkpoint of step 8, with one of step 6 in the shared folder: as a run of eight steps whose
# last flush is taken away again.
write_job tiny "${options[@]}" train.max_steps=8
train 4 tiny
must_equal 'shared checkpoints' 'step-000000006 step-000000008' "$(checkpoints tiny | xargs)"
rm -rf "$folder/tiny.run/checkpoints/step-000000008"
for rank in 0 1 2 3; do
    must_equal "folders of node $rank" 'step-000000006 step-000000008' "$(ls -A "$(node $rank)" | xargs)"
    must_equal "shards on node $rank" 2 "$(find "$(node $rank)/step-000000008" -name 'shard-*' | wc -l)"
done
cp -a "$folder/tiny.run" "$folder/kept.run"
cp -a "$folder/nodes" "$folder/kept.nodes"
write_job tiny "${options[@]}" train.max_steps=12

# resumed RANKS FROM COMMAND ...: what happened to the nodes, and from where the run goes on.
resumed() {
    local ranks=$1 from=$2
    shift 2
    rm -rf "$folder/tiny.run" "$folder/nodes"
    cp -a "$folder/kept.run" "$folder/tiny.run"
    cp -a "$folder/kept.nodes" "$folder/nodes"
    "$@"
    resume "$ranks" tiny
    must_say "resumed from the checkpoint of step $from"
    must_equal "state hash after '$*'" "$expected" "$hash"
}
near='8, as the nodes hold it'

resumed 4 "$near" true
resumed 4 "$near" rm -rf "$(node 2)"
resumed 4 "$near" flip "$(node 1)/step-000000008/shard-00001-of-00004.safetensors" 3000
grep -q 'local copy not used: .*shard-00001-of-00004.safetensors' "$folder/tiny.run/logs/rank-0001.log" ||
    fail 'node 1 does not say what is wrong with its copy'
resumed 4 "$near" rm "$(node 0)/step-000000008/MANIFEST.json"
# Two neighbours that were about to replace it when they were cut off.
cut_short() {
    for rank in 1 2; do
        mv "$(node $rank)/step-000000008" "$(node $rank)/.old-step-000000008"
        mkdir "$(node $rank)/.new-step-000000008"
    done
}
resumed 4 "$near" cut_short
resumed 4 6 rm -rf "$(node 1)" "$(node 2)"
must_say 'checkpoint of step 8 on the nodes is not used: shard 1 of 4 is good on no node'
resumed 3 "$near" true # another number of ranks: what nodes 0 to 2 hold is enough
resumed 2 6 true       # and what nodes 0 and 1 hold is not

# A run that begins again leaves nothing on the nodes that it would be continued from.
write_job tiny "${options[@]}" train.max_steps=4
resume 4 tiny --resume never
must_say "^checkpoints of later steps, up to 12, are set aside in $(node 0)/given-up-1: "
write_job tiny "${options[@]}" train.max_steps=12
resume 4 tiny
must_say "resumed from the checkpoint of step 4, as the nodes hold it"
must_equal 'state hash after a new beginning' "$expected" "$hash"

# A node whose disk cannot be written sends its checkpoints to the shared folder.
rm -rf "$folder/tiny.run" "$folder/nodes"
mkdir -p "$folder/nodes"
: >"$(node 1)"
write_job tiny "${options[@]}" train.max_steps=4
train 2 tiny
must_say "step 2 goes to .*$(hostname)-1"
must_equal 'shared checkpoints' 'step-000000002 step-000000004' "$(checkpoints tiny | xargs)"

write_job tiny "${options[@]}" checkpoint.local_dir="$folder/%x"
worker 2 tiny
must_exit 2
must_say 'after % comes h, r or another %'
