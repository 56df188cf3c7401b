#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a step of a small model asks of a GPU: kernels, copies, waits, allocations, counted by the runtime's stand-in.
# A launch for each tensor, a wait in each micro-step or an operation that fell out of the recording changes no result
# and costs nothing here, so nothing else would show it. Counted is the difference between a run and a longer one;
# a change that lowers a number lowers it here too.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
export MUSTER_SHARE_GPU=1

# counts RANKS NAME STEPS [KEY=VALUE ...]: what all ranks asked for, as lines "what direct in-graphs" in $folder/NAME.counts.
counts() {
    local ranks=$1 name=$2 steps=$3
    shift 3
    write_job "$name" model.hidden_size=16 model.num_heads=2 data.seq_len=8 device=cuda train.global_batch_size=8 \
        parallel.logical_workers=4 checkpoint.save_interval=0 logging.interval=1000 "train.max_steps=$steps" "$@"
    rm -rf "$folder/counts"
    mkdir "$folder/counts"
    MUSTER_STANDIN_COUNTS=$folder/counts/ train "$ranks" "$name"
    awk '{ direct[$1] += $2; graphs[$1] += $3 } END { for (what in direct) print what, direct[what], graphs[what] }' \
        "$folder"/counts/* | LC_ALL=C sort >"$folder/$name.counts"
}

# a_step_asks RANKS TITLE [KEY=VALUE ...] <EXPECTED: of one step, once recordings exist; what a micro-step launches is one line.
a_step_asks() {
    local ranks=$1 title=$2
    shift 2
    counts "$ranks" short 4 "$@"
    counts "$ranks" long 7 "$@"
    awk 'NR == FNR { direct[$1] = $2; graphs[$1] = $3; next }
         { print $1, ($2 - direct[$1]) / 3, ($3 - graphs[$1]) / 3 }' "$folder/short.counts" "$folder/long.counts" |
        grep -v ' 0 0$' >"$folder/out"
    awk '/^(adamw|add|squares|sum)_kernel |^(allocation|copy|event|fill|graph|wait)/ { print; next }
         { direct += $2; graphs += $3 }
         END { print "operations", direct, graphs }' "$folder/out" >"$folder/found"
    diff - "$folder/found" || fail "$title: a step asks for other things (> is what was found, and below in full)"
}

# Two blocks, 8 micro-steps of which 4 logical workers have 2 each. Each is launched as one recording; beside them are ids
# and targets on the way in, losses and hits on the way out, a gradient cleared for each logical worker and three that are
# added. One wait, for loss and norm; one launch for the norm of a bucket, one for its update.
# No rank talks: NCCL, which would fail here, is not started.
export MUSTER_NCCL_STANDIN_FAIL=ncclGetUniqueId:1:3
a_step_asks 1 "one rank" <<'EOF'
adamw_kernel 1 0
add_kernel 3 48
copy_to_device 16 0
copy_to_host 16 0
event 2 0
fill 4 8
graph 8 0
squares_kernel 1 0
wait 1 0
operations 0 520
EOF
# The time of computing is the device's, whose clock here goes on by a microsecond with each piece of work: 568
# operations (48 of them add a bias's gradient that came with its weights'), 12 clearings, 32 copies and one add. Two
# adds, norm and update come after it.
must_equal "milliseconds of computing" 0.613 \
    "$(sed -nE 's/^\{"step": 7,.*"compute_ms": ([0-9.]+),.*/\1/p' "$folder/long.run/metrics.jsonl")"

unset MUSTER_NCCL_STANDIN_FAIL

# Of all ranks together. The weights all come before the first operation and the gradients all leave after the last:
# a micro-step is one recording here too.
a_step_asks 2 "two ranks" <<'EOF'
adamw_kernel 2 0
add_kernel 2 48
copy 8 0
copy_to_device 16 0
copy_to_host 16 0
event 16 0
fill 4 8
graph 8 0
squares_kernel 2 0
sum_kernel 2 0
wait 2 0
operations 0 520
EOF

# A rank has one logical worker, which nobody adds to before it is sent: the pieces of all ranks are one launch an owner.
a_step_asks 4 "four ranks" <<'EOF'
adamw_kernel 4 0
add_kernel 0 48
copy 48 0
copy_to_device 16 0
copy_to_host 16 0
event 32 0
fill 4 8
graph 8 0
squares_kernel 4 0
sum_kernel 4 0
wait 4 0
operations 0 520
EOF

# Token table, two blocks, head: their weights are waited for forward and backward, 6 times a micro-step, and what lies
# between is a recording.
a_step_asks 2 "two ranks that share out everything" parallel.zero_stage=3 <<'EOF'
adamw_kernel 2 0
add_kernel 2 48
copy 12 0
copy_on_device 4 0
copy_to_device 16 0
copy_to_host 16 0
event 24 0
fill 4 8
graph 48 0
squares_kernel 2 0
sum_kernel 2 0
wait 2 0
operations 0 520
EOF

# Seven buckets: six times the first micro-step of a rank waits for weights, the last sends gradients away five times before
# its end, and each lets the rest go as six recordings. No operation is launched by itself.
a_step_asks 2 "two ranks and seven buckets" model.hidden_size=128 model.num_heads=4 train.global_batch_size=4 <<'EOF'
adamw_kernel 14 0
add_kernel 14 24
copy 56 0
copy_to_device 8 0
copy_to_host 8 0
event 76 0
fill 4 4
graph 24 0
squares_kernel 14 0
sum_kernel 14 0
wait 2 0
operations 0 260
EOF
