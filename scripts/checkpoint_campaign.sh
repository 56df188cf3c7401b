#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The long form of what the test run proves about checkpoints in a short one: failing calls, kills, crash states, power
# cuts, damage, saves in a row, other numbers of ranks, fuzzing. Prints one line a part with its count; ends with 1 when
# any part found a violation. docs/benchmarks/CHECKPOINTS.md keeps the figures.
#
# usage: scripts/checkpoint_campaign.sh [--quick] [BUILD FOLDER (build)]
#   --quick  every part with small numbers, in a few minutes: shows that the long form would run
#   CRASH_STATES=10000 POWER_CUTS=100 PAYLOAD_FLIPS=100000 SAVES=10000 FUZZ_RUNS=10000000 FUZZ_SECONDS=3600 change the
#   sizes; FUZZ_RUNS=0 leaves fuzzing out (it needs clang and builds in BUILD FOLDER-fuzz)
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
if [[ ${1:-} == --quick ]]; then
    shift
    : "${CRASH_STATES:=100}" "${POWER_CUTS:=1}" "${PAYLOAD_FLIPS:=200}" "${SAVES:=50}" "${FUZZ_RUNS:=2000}"
else
    export MUSTER_CAMPAIGN=1 # all kinds of errors, both roles at each kill, all pairs of numbers of ranks
fi
build=$(cd "${1:-$here/build}" && pwd) || exit 2
[[ -x $build/tests/save_driver ]] || { echo "$build has no tests: scripts/build.sh builds them" >&2; exit 2; }
export MUSTER_BIN=$build/bin MUSTER_SOURCE=$here
export MUSTER_CRASH_STATES=${CRASH_STATES:-10000} MUSTER_POWER_CUTS=${POWER_CUTS:-100}
export MUSTER_PAYLOAD_FLIPS=${PAYLOAD_FLIPS:-100000}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=slot:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader
export OMP_WAIT_POLICY=passive CK_FORK=no
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# part NAME COMMAND ...: the last line it prints that begins with a number is its figure.
part() {
    local name=$1 code=0 started=$SECONDS
    shift
    "$@" >"$log" 2>&1 || code=$?
    case $code in
    0) printf '%-28s %s (%d s)\n' "$name" "$(grep -E '^[0-9]+ ' "$log" | paste -sd ';')" $((SECONDS - started)) ;;
    77) printf '%-28s %s\n' "$name" "$(tail -n 1 "$log")" ;;
    *)
        printf '%-28s VIOLATION\n' "$name"
        tail -n 20 "$log"
        failed=1
        ;;
    esac
}

in_memory() {
    local folder
    folder=$(mktemp -d -p /dev/shm muster-saves.XXXXXX)
    "$build/tests/save_driver" many "$folder" "$1" | tail -n 1 | sed 's/acknowledged \(.*\)/\1 saves in a row, always two verified/'
    local code=$?
    rm -rf "$folder"
    return "$code"
}

# fuzz TARGET: what it learns is thrown away. Stacks of allocations cost a quarter of the time; who looks into a finding
# runs it again without these options.
fuzz() {
    local corpus code
    corpus=$(mktemp -d -p /dev/shm muster-corpus.XXXXXX)
    ASAN_OPTIONS=malloc_context_size=0:quarantine_size_mb=8 "$build-fuzz/tests/fuzz_$1" -runs="${FUZZ_RUNS:-10000000}" \
        -max_total_time="${FUZZ_SECONDS:-3600}" -dict="$here/tests/fuzz/json.dict" -max_len=2048 -rss_limit_mb=4096 -print_final_stats=1 \
        "$corpus" "$here/tests/fuzz/corpus/$1" >"$log.fuzz" 2>&1
    code=$?
    sed -nE 's/^stat::number_of_executed_units: +([0-9]+)$/\1 executions, 0 findings/p' "$log.fuzz"
    [[ $code -eq 0 ]] || tail -n 20 "$log.fuzz"
    rm -rf "$log.fuzz" "$corpus"
    return "$code"
}

part 'failing calls' "$build/tests/test_io_faults"
part 'crash states' "$build/tests/test_crash_states"
part 'damage' "$build/tests/test_ckpt_damage"
part 'kills' bash "$here/tests/run/a_kill_at_any_point_of_a_save_loses_nothing.sh"
part 'power cuts' bash "$here/tests/run/a_power_cut_loses_no_acknowledged_checkpoint.sh"
part 'ranks that save and load' bash "$here/tests/run/any_number_of_ranks_loads_what_any_saved.sh"
part 'saves in a row' in_memory "${SAVES:-10000}"
if [[ ${FUZZ_RUNS:-1} != 0 ]] && command -v clang >/dev/null; then
    CC=clang cmake -S "$here" -B "$build-fuzz" -G Ninja -DMUSTER_FUZZ=ON -DMUSTER_CUDA=OFF \
        -DMUSTER_SANITIZE=fuzzer-no-link,address,undefined >/dev/null &&
        ninja -C "$build-fuzz" fuzz_manifest fuzz_safetensors fuzz_shard fuzz_hf >/dev/null || failed=1
    for target in safetensors manifest shard hf; do
        part "fuzz $target" fuzz "$target"
    done
fi
exit "$failed"
