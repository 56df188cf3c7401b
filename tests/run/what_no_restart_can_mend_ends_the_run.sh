#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A start that would fail alike each time (words that mpirun does not take, more ranks than places, a component that is
# not there, a folder that cannot be made) is tried once, told in one sentence, and ends with exit code 2.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
unset OMPI_MCA_rmaps_base_oversubscribe PRTE_MCA_rmaps_default_mapping_policy
[[ $(mpirun --version) == *"(Open MPI) 4."* ]] || skip 'the words are those of Open MPI 4'
write_job job train.max_steps=2

# refused SENTENCE ARGUMENT ...: one launch, exit code 2, one such line.
refused() {
    local sentence=$1
    shift
    rm -rf "$folder/job.run"
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" run "$folder/job.yaml" "$@" >"$folder/out" 2>&1 </dev/null || status=$?
    must_exit 2
    must_equal "lines that match $sentence" 1 "$(grep -Ec -- "$sentence" "$folder/out" || true)"
    must_not_say '^step [0-9]+/'
    ! grep -q 'ORTE_ERROR_LOG.*show_help' "$folder/out" || return 0 # Open MPI 4.1 loses its own words now and then
    must_not_say 'restarting'
    [[ ! -e $folder/job.run/epoch ]] || must_equal 'launches' 1 "$(<"$folder/job.run/epoch")"
}

cannot='^muster run: the ranks cannot be started like this'
refused "$cannot \(\"mpirun: Error: unknown option \"--mcaa\"\", see above\): another try would end alike" -n 2 -- --mcaa btl self
refused "$cannot \(\"A requested component was not found, or was unable to be opened\"" -n 2 -- --mca pml obl
OMPI_MCA_rmaps_base_oversubscribe=0 refused "$cannot \(\"There are not enough slots available" -n 2 -- --host localhost:1
[[ -z $(command -v ssh) ]] || refused "$cannot \(\"ssh: Could not resolve hostname" -n 1 -- --host nowhere.invalid
refused '^muster run: the launcher has started no rank: see what it says above, and the words after --$' -n 1 -- --version

: >"$folder/file"
refused "checkpoint.dir: $folder/file is a file, not a folder" --set checkpoint.dir="$folder/file"
refused "^muster-worker: checkpoint.dir: mkdir $folder/file: a file of that name is in the way; " --set checkpoint.dir="$folder/file/below"
refused '^muster-worker: checkpoint.dir: mkdir /proc/nowhere: No such file or directory; ' --set checkpoint.dir=/proc/nowhere/below
