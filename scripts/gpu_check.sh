#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/gpu_check.sh [--no-bench] [--emulated] [--bundle FILE.tar.xz]
# Everything that only a machine with a GPU can show, on one GPU in under ten minutes: builds, compares every operation
# and whole models with the reference, trains on 1, 2, 3 and 4 ranks that share the GPU (MPI staging and NCCL), compares
# hashes, runs the benchmark (beside PyTorch where PYTHON has it), and prints one table. Needs nvcc, cuDNN, NCCL, CMake and
# Ninja; Open MPI and the small libraries from the system or from the archive that scripts/gpu_bundle.sh made
# (build/gpu-bundle.tar.xz unless told). --emulated: the same without a GPU or benchmark, over the emulated plug-in.
# Logs: build/gpu-check/. Exit 0 only if every line of the table is good; 2 where nothing could be checked.
# shellcheck disable=SC2317 # functions that `check` calls by name
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here" || exit 1
bench=1 emulated=0 bundle=$here/build/gpu-bundle.tar.xz
usage() { sed -n '3,10s/^# //p' scripts/gpu_check.sh; }
while [ $# -gt 0 ]; do
    case $1 in
    --no-bench) bench=0 ;;
    --emulated) emulated=1 bench=0 ;;
    --bundle)
        [ $# -ge 2 ] || { echo "gpu_check: --bundle needs a file" >&2 && exit 2; }
        bundle=$2 && shift
        ;;
    --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if [ "$emulated" -eq 0 ] && ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu_check: no GPU: nvidia-smi finds none. Nothing was checked; --emulated checks what needs none." >&2
    exit 2
fi
build=$here/build logs=$here/build/gpu-check
mkdir -p "$logs"
bundled=()
if ! command -v mpicc >/dev/null; then
    [ -f "$bundle" ] || {
        echo "gpu_check: no Open MPI here, and no archive $bundle: make it with scripts/gpu_bundle.sh" >&2
        exit 2
    }
    prefix=$here/build/gpu-prefix
    rm -rf "$prefix"
    mkdir -p "$prefix"
    tar -C "$prefix" -xJf "$bundle" || exit 2
    # shellcheck source=/dev/null
    . "$prefix/environment.sh"
    bundled=(-DCMAKE_PREFIX_PATH="$prefix/usr" -DCMAKE_LIBRARY_ARCHITECTURE="$(cat "$prefix/TRIPLET")")
fi
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader

rows=() failed=0
# check NAME COMMAND...: one line of the table; what it prints goes to its log.
check() {
    local name=$1 log=$logs/${1// /-}.log started=$SECONDS said=good
    shift
    "$@" >"$log" 2>&1 || { said="FAILED: $log" && failed=1; }
    rows+=("$(printf '| %-46s | %4d s | %s |' "$name" $((SECONDS - started)) "$said")")
    echo "${rows[-1]}"
    [ "$said" = good ] || tail -n 15 "$log" | sed 's/^/    /'
}

gpu() { nvidia-smi --query-gpu=name,memory.total,driver_version,uuid --format=csv,noheader && nvcc --version | tail -n 2; }
configure_and_build() {
    cmake --preset release -DMUSTER_CUDA=ON -DMUSTER_WERROR=ON -DMUSTER_TESTS=ON "${bundled[@]}" && cmake --build --preset release
}
plugin=$build/bin/libmuster_cuda.so test_gpu=1
[ "$emulated" -eq 0 ] || plugin=$build/tests/libmuster_cuda_emulated.so test_gpu=0
on_plugin() { MUSTER_CUDA_PLUGIN=$plugin "$build/tests/$1"; }
whole_runs() {
    MUSTER_CUDA_PLUGIN=$plugin MUSTER_TEST_GPU=$test_gpu MUSTER_BIN=$build/bin MUSTER_SOURCE=$here \
        bash tests/run/gpus_train_the_same_model.sh
}
tests_without_gpu() { ctest --test-dir "$build" --output-on-failure -j 8 -L 'kernels|comm|cuda'; }
benchmark() {
    local alone=()
    "${PYTHON:-python3}" -c 'import numpy, torch; assert torch.cuda.is_available()' 2>/dev/null || alone=(--no-torch)
    scripts/bench_gpu.sh --quick --rounds 2 "${alone[@]}" --output "$logs/bench.md"
}

rm -f "$logs/bench.md"
[ "$emulated" -eq 1 ] || check "the GPU and its compiler" gpu
check "build with CUDA, warnings are errors" configure_and_build
if [ "$failed" -eq 0 ]; then
    check "operations against the reference" on_plugin test_cuda_table
    check "back end, streams, recordings" on_plugin test_cuda_backend
    check "memory and copies" on_plugin test_cuda_memory
    check "whole models against the reference" on_plugin test_cuda_engine
    check "same bits on 1, 2, 3, 4 ranks, NCCL and MPI" whole_runs
    check "the tests that need no GPU" tests_without_gpu
    [ "$bench" -eq 0 ] || check "benchmark" benchmark
fi
echo
echo "| check | time | result |"
echo "| --- | --- | --- |"
printf '%s\n' "${rows[@]}"
[ ! -s "$logs/bench.md" ] || { echo && cat "$logs/bench.md"; }
exit "$failed"
