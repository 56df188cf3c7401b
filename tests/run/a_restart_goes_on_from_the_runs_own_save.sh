#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A checkpoint that a run is told to begin from is where it starts once: a restart, a requeued job and the same command
# go on from what the run has saved since. The newest step counts, whatever the clock of the file server says.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
export MUSTER_FAULT_ONCE=$folder/fired

# supervised NAME FAULTS [ARGUMENT ...]
supervised() {
    local name=$1
    export MUSTER_FAULT=$2
    shift 2
    rm -rf "$folder/fired"
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" run "$folder/$name.yaml" -n 2 "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

from_step() { must_say "resumed from the checkpoint of step $1\$"; }

job=(checkpoint.async=false model.hidden_size=32 model.num_heads=2)
write_job first "${job[@]}" train.max_steps=4
MUSTER_FAULT='' train 1 first
write_job whole "${job[@]}"
MUSTER_FAULT='' train 1 whole
start=$folder/first.run/checkpoints/step-000000004
[[ -e $start/MANIFEST.json ]] || fail 'there is no checkpoint to start from'

# As a line of the job, from another run's folder: the start of a run that has saved nothing.
write_job tuned "${job[@]}" checkpoint.resume="$start"
supervised tuned step:0:6:kill
must_exit 0
from_step 4
must_say '; lost [0-9]+ steps? \(.*\) after the checkpoint of step 8; restarting'
from_step 8
must_have_hash() { must_say "state hash +$1\$"; }
must_have_hash "$hash"
rm -r "$folder/tuned.run"
supervised tuned step:0:3:term
must_exit 75
must_say 'stopped at step [67]; the same command continues'
supervised tuned ''
must_exit 0
from_step '[67]'
must_have_hash "$hash"
[[ ! -e $folder/tuned.run/checkpoints/given-up-1 ]] || fail 'own saves were set aside'

# As a word of the command it is meant each time, but not by a restart, nor where Slurm starts the job again.
write_job asked "${job[@]}"
supervised asked step:0:7:kill --resume "$start"
must_exit 0
from_step 4
from_step 8
supervised asked step:0:3:term --resume "$start"
must_exit 75
from_step 4
must_say 'stopped at step [67]; --resume auto continues'
SLURM_RESTART_COUNT=1 supervised asked '' --resume "$start"
must_exit 0
from_step '[67]'
must_have_hash "$hash"

# The clock has been set back since the last run, or the file server has another one.
touch -d 'now + 1 hour' "$folder"/asked.run/checkpoints/step-*/MANIFEST.json "$folder"/asked.run/*.json*
supervised asked step:0:7:kill --resume never
must_exit 0
from_step 4
must_say '; lost [0-9]+ steps? \(.*\) after the checkpoint of step 4; restarting'
must_have_hash "$hash"
