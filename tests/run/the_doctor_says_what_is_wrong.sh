#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `muster doctor` on a sound machine is green; what would spoil a run makes a line red, with what to do, and exit code 1.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# doctor [ARGUMENT ...]
doctor() {
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" doctor "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

write_job job
doctor "$folder/job.yaml" -n 3 --floor 0
must_exit 0
must_say '^ok +MPI +3 ranks on 1 host'
must_say '^ok +versions +Open MPI [0-9]+\.[0-9]+\.[0-9]+'
for what in programs clocks job data 'run folder' 'free space' memory devices all-reduce; do
    must_say "^(ok|note) +$what "
done
must_not_say RED
left=$(find "$folder/job.run" -name '.doctor*')
must_equal 'files left behind' '' "$left"

doctor "$folder/job.yaml" -n 2 --floor 100000
must_exit 1
must_say '^RED +all-reduce '
must_say '^ +-> is it the right network'

doctor -n 2 --floor 0
must_exit 0
must_not_say ' job '

write_job nodata data.train="$folder/nothing"
doctor "$folder/nodata.yaml" -n 2 --floor 0
must_exit 1
must_say '^RED +job '
must_say 'nodata.yaml:.*: data.train: '

write_job crowd parallel.logical_workers=2
doctor "$folder/crowd.yaml" -n 3 --floor 0
must_exit 1
must_say '^RED +job +.*3 ranks'

write_job gpu device=cuda
doctor "$folder/gpu.yaml" -n 2 --floor 0
if ! grep -q '^ok  *devices' "$folder/out"; then
    must_exit 1
    must_say '^RED +devices +device: cuda: rank 0 on .* has no GPU'
fi

# Ranks that each believe to be alone: what a launcher of another MPI makes of them.
status=0
env OMPI_COMM_WORLD_SIZE=2 "$MUSTER_BIN/muster-worker" --doctor "$folder/job.yaml" >"$folder/out" 2>&1 </dev/null || status=$?
must_exit 2
must_say 'each sees itself as the only rank'

status=0
env PATH=/nowhere "$MUSTER_BIN/muster" doctor >"$folder/out" 2>&1 || status=$?
must_exit 1
must_say '^RED +MPI +mpirun was not found in PATH'
