# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the whole-run tests share: a folder that goes away whatever happens, job files, and muster-worker under
# mpirun with a deadline on every wait. Open MPI's own files are kept in that folder too, so a job killed in the
# middle leaves nothing elsewhere. Processes are ended by the ids that a test itself noted down.
set -euo pipefail
: "${MUSTER_BIN:?where the programs are}" "${MUSTER_SOURCE:?where the sources are}"

deadline_s=60
folder=$(mktemp -d "${TMPDIR:-/tmp}/muster-run.XXXXXX")
shared=$(mktemp -d -p /dev/shm muster-run.XXXXXX 2>/dev/null || echo "$folder")
job_pid=
status=0
hash=
export OMPI_MCA_orte_tmpdir_base=$folder PRTE_MCA_prte_tmpdir_base=$folder OMPI_MCA_btl_vader_backing_directory=$shared
export OMPI_MCA_odls_base_sigkill_timeout=0 # what is left of a job whose rank died ends at once
# A test of one thing must not depend on what its starter exported for another.
unset MUSTER_LIVE OMP_NUM_THREADS DNNL_MAX_CPU_ISA

clean_up() {
    local code=$?
    trap - EXIT
    if [[ -n $job_pid ]]; then
        kill -TERM "$job_pid" 2>/dev/null || true
        wait "$job_pid" || true
    fi
    rm -rf "$folder" "$shared"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 143' TERM INT

# The text that every job trains on: sources of muster itself.
cat "$MUSTER_SOURCE"/base/*.c >"$folder/text"

fail() {
    echo "FAILED: $*"
    if [[ -s $folder/out ]]; then
        echo "--- the end of what was printed:"
        tail -n 30 "$folder/out"
    fi
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# Whether mpirun can start two daemons on this host that pose as two hosts; for Open MPI 5 they do not reach each other.
poses_as_hosts() { [[ $(mpirun --version) == *"(Open MPI) 4."* ]]; }

# must_equal WHAT EXPECTED FOUND
must_equal() { [[ "$2" == "$3" ]] || fail "$1: expected '$2', found '$3'"; }

# The exit code of the last job.
must_exit() { [[ $status -eq $1 ]] || fail "exit code $status instead of $1"; }

# What the last job printed has a line that matches this extended regular expression.
must_say() { grep -Eq -- "$1" "$folder/out" || fail "nothing printed matches: $1"; }

must_not_say() { ! grep -Eq -- "$1" "$folder/out" || fail "something printed matches: $1"; }

# write_job NAME [section.key=value ...]: a small gpt over bytes with these changes, as $folder/NAME.yaml. An
# empty value leaves the key out.
write_job() {
    local name=$1
    shift
    printf '%s\n' "name=$name" "output_dir=$folder/$name.run" device=cpu \
        model.type=gpt model.num_layers=2 model.hidden_size=48 model.num_heads=3 model.vocab_size=256 \
        data.format=bytes "data.train=$folder/text" data.seq_len=24 \
        train.micro_batch_size=1 train.global_batch_size=16 train.max_steps=12 \
        optimizer.lr=3e-3 scheduler.type=constant \
        parallel.logical_workers=8 parallel.threads=1 parallel.bucket_mb=1 \
        checkpoint.save_interval=4 logging.interval=1 "$@" |
        awk '{ at = index($0, "="); key = substr($0, 1, at - 1); value[key] = substr($0, at + 1) }
             !(key in seen) { seen[key] = 1; keys[++count] = key }
             END {
                 for (i = 1; i <= count; i++)
                     if (value[keys[i]] != "" && split(keys[i], part, ".") == 1)
                         print keys[i] ": " value[keys[i]]
                 for (i = 1; i <= count; i++) {
                     if (split(keys[i], part, ".") == 1 || part[1] in printed)
                         continue
                     printed[section = part[1]] = 1
                     print section ":"
                     for (k = i; k <= count; k++)
                         if (split(keys[k], part, ".") == 2 && part[1] == section && value[keys[k]] != "")
                             print "  " part[2] ": " value[keys[k]]
                 }
             }' >"$folder/$name.yaml"
}

# worker RANKS NAME [ARGUMENT ...]: runs the job to its end; $status and $folder/out say how it went.
worker() {
    local ranks=$1 name=$2
    shift 2
    status=0
    mpirun --timeout "$deadline_s" -n "$ranks" "$MUSTER_BIN/muster-worker" "$folder/$name.yaml" "$@" \
        >"$folder/out" 2>&1 </dev/null || status=$?
}

# As worker, must succeed; $hash is the final state's.
resume() {
    worker "$@"
    must_exit 0
    hash=$(sed -nE 's/^ *state hash +([0-9a-f]{32})$/\1/p' "$folder/out")
    [[ -n $hash ]] || fail "no state hash was printed"
}

# As resume, in an empty run folder.
train() {
    rm -rf "$folder/$2.run"
    resume "$@"
}

# start RANKS NAME [ARGUMENT ...]: the job in the background; its ranks' process ids are in $folder/pid-RANK. The ranks
# print past mpirun, which on a busy machine can be held up for seconds by the terminals it gives them, and which reads
# nothing more once it has been told to end.
start() {
    local ranks=$1 name=$2
    shift 2
    rm -f "$folder"/pid-* "$folder/pipe"
    mkfifo "$folder/pipe"
    # shellcheck disable=SC2016 # expanded by the rank's shell
    mpirun --timeout "$deadline_s" -n "$ranks" \
        sh -c 'echo $$ >"$0/pid-$OMPI_COMM_WORLD_RANK"; exec "$@" >"$0/pipe" 2>&1' "$folder" \
        "$MUSTER_BIN/muster-worker" "$folder/$name.yaml" "$@" >"$folder/pipe" 2>&1 </dev/null &
    job_pid=$!
    exec {pipe}<"$folder/pipe"
    : >"$folder/out"
}

# Reads what the started job prints up to a line that matches; 1 when the job ends without it.
await_unless_over() {
    local line
    while IFS= read -r -t "$deadline_s" -u "$pipe" line; do
        printf '%s\n' "$line" >>"$folder/out"
        [[ ! $line =~ $1 ]] || return 0
    done
    return 1
}

await() { await_unless_over "$1" || fail "the job never printed: $1"; }

# The started job is waited for; $status is its exit code.
await_end() {
    status=0
    cat <&"$pipe" >>"$folder/out"
    exec {pipe}<&-
    wait "$job_pid" || status=$?
    job_pid=
}

# Signal to the started job's rank, or to all of them.
signal_rank() { kill "-$1" "$(<"$folder/pid-$2")" 2>/dev/null || true; }
signal_all_ranks() { cat "$folder"/pid-* | xargs kill "-$1" 2>/dev/null || true; }

# What the run computed, without times: step, loss, accuracy, gradient norm and rate of each step, evaluations.
numbers() {
    sed -nE -e 's/^\{("step": [0-9]+, "loss": .*), "tokens": .*/\1/p' -e 's/^\{("step": [0-9]+, "eval_.*)\}$/\1/p' \
        "$folder/$1.run/metrics.jsonl"
}

# Names of the checkpoints that are complete, oldest first.
checkpoints() {
    local manifest
    for manifest in "$folder/$1.run/checkpoints"/step-*/MANIFEST.json; do
        [[ ! -e $manifest ]] || basename "$(dirname "$manifest")"
    done
}

# flip FILE OFFSET: one byte of it changes.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf %03o $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
