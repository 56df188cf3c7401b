#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `muster run` as a person meets it when ranks die: it says what happened and what was lost, starts them again, and ends
# in the bits of an undisturbed rank. It does not go on for ever, not after a stop, and not when the job is wrong; killed
# itself, it leaves nothing that the next run does not clear away.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
unset OMPI_MCA_odls_base_sigkill_timeout # as a person has it
export MUSTER_FAULT_ONCE=$folder/fired

# supervised NAME FAULTS [ARGUMENT ...]: the job from its start on 3 ranks.
supervised() {
    local name=$1
    export MUSTER_FAULT=$2
    shift 2
    rm -rf "$folder/$name.run" "$folder/fired"
    again "$name" "$@"
}

# The same command again.
again() {
    local name=$1
    shift
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" run "$folder/$name.yaml" -n 3 "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

must_have_hash() { must_say "state hash +$1\$"; }

must_leave_nothing() {
    must_equal 'in /dev/shm' '' "$(ls -A "$shared")"
    must_equal 'session folders' '' "$(find "$folder" -maxdepth 1 -name 'ompi.*')"
    must_equal 'unfinished files' '' "$(find "$folder/$1.run" -name '*.tmp' -o -name '.tmp*' -o -name '.aside*' -o -name 'launcher.*')"
    must_equal 'processes' '' "$(processes_of "$1")"
}

# Processes that carry the run's folder in their environment.
processes_of() {
    local process
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -q "^MUSTER_RUN=.*:$folder/$1.run\$"; then
            echo "${process#/proc/}"
        fi
    done
}

# Saves are waited for: the faults below come at a certain step, and what is saved by then must be known.
job=(train.max_steps=12 checkpoint.save_interval=4 checkpoint.async=false model.hidden_size=32 model.num_heads=2)
write_job steady "${job[@]}"
train 1 steady
undisturbed=$hash
numbers steady >"$folder/expected"
write_job job "${job[@]}"

supervised job step:1:7:kill
must_exit 0
must_have_hash "$undisturbed"
must_say '^muster run: rank 1 .*(died|killed by signal 9).*; lost [12] steps? \(.*\) after the checkpoint of step 4; restarting on 3 ranks \(restart 1 of at most 100\)$'
numbers job | cmp - "$folder/expected" || fail 'every step must be logged once, as undisturbed'
must_leave_nothing job
must_equal 'launches' 2 "$(<"$folder/job.run/epoch")"
for kind in launch death restart done; do
    grep -q "\"kind\": \"$kind\"" "$folder/job.run/events.jsonl" || fail "no event $kind"
done

supervised job step:1:7:kill --no-restart
must_exit 1
must_say '^muster run: rank 1 .*; the same command continues from the last checkpoint$'
must_equal 'launches' 1 "$(<"$folder/job.run/epoch")"
again job
must_exit 0
must_have_hash "$undisturbed"

# A data file that is cut short under the run ends it, and both the death and the refusal to go on say so.
cp "$folder/text" "$folder/cut.txt"
write_job cut "${job[@]}" data.train="$folder/cut.txt" train.max_steps=1000000 checkpoint.save_interval=0
mkfifo "$folder/pipe"
MUSTER_FAULT='' timeout "$deadline_s" "$MUSTER_BIN/muster" run "$folder/cut.yaml" -n 1 >"$folder/pipe" 2>&1 </dev/null &
job_pid=$!
exec {pipe}<"$folder/pipe"
: >"$folder/out"
await '^step 1/'
truncate -s 10 "$folder/cut.txt"
await_end
must_exit 2
must_say '^muster run: .*\(bus error: a data file was cut short under the run or cannot be read, or memory fails\); lost '
must_say 'data.train: .*/cut.txt: 10 tokens are too few for one sample'

write_job weak "${job[@]}" supervisor.max_restarts=1
supervised weak step:1:7:kill,step:0:3:segv
must_exit 1
must_say '; giving up: all 1 restarts are used up; the same command continues from the last checkpoint$'
again weak
must_exit 0
must_have_hash "$undisturbed"

write_job stuck "${job[@]}" supervisor.restart_backoff=0
unset MUSTER_FAULT_ONCE
supervised stuck step:2:3:abort
must_exit 1
must_say '; giving up: it died 5 times in a row without a new checkpoint; '
must_equal 'launches' 5 "$(<"$folder/stuck.run/epoch")"
export MUSTER_FAULT_ONCE=$folder/fired

# What saved itself before is not taken up against a person's word, what this run has saved is.
supervised job step:0:7:kill --resume never
must_exit 0
must_have_hash "$undisturbed"
must_say 'resumed from the checkpoint of step 4'

# Nor later: a run that begins again sets aside what it would be continued from, and a stop says how it goes on.
again job --resume never
must_exit 0
must_say "^checkpoints of later steps, up to 12, are set aside in $folder/job.run/checkpoints/given-up-1: "
must_have_hash "$undisturbed"
rm -r "$folder/fired"
export MUSTER_FAULT=step:1:7:term
again job --resume never
must_exit 75
must_say 'stopped at step [0-9]+; --resume auto continues'
again job
must_exit 0
must_say 'resumed from the checkpoint of step [5-9]'
must_have_hash "$undisturbed"
[[ -e $folder/job.run/checkpoints/given-up-2/step-000000012/MANIFEST.json ]] || fail 'what was set aside is gone'
export SLURM_RESTART_COUNT=1
again job --resume never
unset SLURM_RESTART_COUNT
must_exit 0
must_say 'resumed from the checkpoint of step 12' # the requeued job goes on

# A stop at a step whose evaluation is due does not lose the evaluation.
eval=(data.val="$folder/text" eval.interval=4 eval.iters=2)
write_job evaluated "${job[@]}" "${eval[@]}"
train 1 evaluated
numbers evaluated >"$folder/evaluated"
supervised evaluated step:1:4:term
must_exit 75
again evaluated
must_exit 0
numbers evaluated | cmp - "$folder/evaluated" || fail 'an evaluation was lost'

# A stop asked for is not a death; a wrong job neither.
supervised job step:1:3:term
must_exit 75
must_not_say 'restarting'
must_equal 'launches' 1 "$(<"$folder/job.run/epoch")"
again job
must_exit 0
must_have_hash "$undisturbed"
write_job wrong "${job[@]}" data.seq_len=0
supervised wrong ''
must_exit 2
must_not_say 'restarting'

# The supervisor and mpirun are killed while one rank is stopped: the next command clears away and goes on.
supervised job step:1:7:stop,step:0:1:kill & waiter=$!
until [[ $(stat -c %s "$folder/fired" 2>/dev/null) == 1 ]]; do
    kill -0 "$waiter" 2>/dev/null || fail 'the run ended before a rank was stopped'
done
supervisor=$(pgrep -x -P "$(pgrep -P "$waiter" timeout)" muster)
export MUSTER_FAULT=
"$MUSTER_BIN/muster" run "$folder/job.yaml" -n 3 >"$folder/second" 2>&1 && fail 'two supervisors ran one folder'
grep -q 'supervisor.lock is held by' "$folder/second" || fail 'nobody was named as the holder of the folder'
kill -KILL "$supervisor" "$(sed -n 2p "$folder"/job.run/launcher.*)"
wait "$waiter" || true
again job
must_exit 0
must_have_hash "$undisturbed"
numbers job | cmp - "$folder/expected" || fail 'every step must be logged once after the supervisor was killed'
must_leave_nothing job

# A rank that died while it removed an old checkpoint, in the last seconds of a run, left half of that.
mkdir "$folder/job.run/checkpoints/step-000000001"
again job
must_exit 0
[[ ! -e $folder/job.run/checkpoints/step-000000001 ]] || fail 'half of a removed checkpoint is still there'

# Time that runs out is a stop too.
write_job timed "${job[@]}" train.max_steps=1000000 train.max_time=3s checkpoint.save_interval=100000
supervised timed ''
must_exit 75
must_say 'the time limit is near'
must_say 'stopped and saved at step'
