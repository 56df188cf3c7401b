#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/gpu_check.sh [--no-bench] [--bundle FILE.tar.xz]
# Everything that only a machine with a GPU can show, on one GPU in under ten minutes: builds, compares every operation
# and whole models with the reference, trains on 1, 2, 3 and 4 ranks that share the GPU (MPI staging and NCCL), compares
# hashes, runs the benchmark, and prints one table. Needs nvcc, cuDNN, NCCL, CMake and Ninja; Open MPI and the small
# libraries from the system or from the archive that scripts/gpu_bundle.sh made (build/gpu-bundle.tar.xz unless told).
# Logs: build/gpu-check/. Exit 0 only if every line of the table is good.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here" || exit 1
bench=1 bundle=$here/build/gpu-bundle.tar.xz
while [ $# -gt 0 ]; do
    case $1 in
    --no-bench) bench=0 ;;
    --bundle) bundle=${2:?--bundle needs a file} && shift ;;
    *) sed -n '3,9s/^# //p' "$0" && exit 2 ;;
    esac
    shift
done
build=$here/build logs=$here/build/gpu-check
mkdir -p "$logs"
bundled=()
if ! command -v mpicc >/dev/null && [ -f "$bundle" ]; then
    prefix=$here/build/gpu-prefix
    mkdir -p "$prefix" && tar -C "$prefix" -xJf "$bundle"
    libraries=$prefix/usr/lib/$(cat "$prefix/TRIPLET")
    export PATH=$prefix/usr/bin:$PATH OPAL_PREFIX=$prefix/usr PMIX_INSTALL_PREFIX=$libraries/pmix2
    export LD_LIBRARY_PATH=$libraries:$libraries/openmpi/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PKG_CONFIG_SYSROOT_DIR=$prefix
    export PKG_CONFIG_LIBDIR=$libraries/pkgconfig:$prefix/usr/share/pkgconfig
    export CPATH=$prefix/usr/include:$prefix/usr/include/$(cat "$prefix/TRIPLET")${CPATH:+:$CPATH}
    export OMPI_MCA_plm=isolated
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
    rows+=("$(printf '| %-42s | %4d s | %s |' "$name" $((SECONDS - started)) "$said")")
    echo "${rows[-1]}"
    [ "$said" = good ] || tail -n 15 "$log" | sed 's/^/    /'
}

gpu() { nvidia-smi --query-gpu=name,memory.total,driver_version,uuid --format=csv,noheader && nvcc --version | tail -n 2; }
configure_and_build() {
    cmake --preset release -DMUSTER_CUDA=ON -DMUSTER_WERROR=ON -DMUSTER_TESTS=ON "${bundled[@]}" && cmake --build --preset release
}
# A test program of the emulated plug-in, on the real one.
on_gpu() { MUSTER_CUDA_PLUGIN=$build/bin/libmuster_cuda.so "$build/tests/$1"; }
whole_runs() { MUSTER_TEST_GPU=1 MUSTER_BIN=$build/bin MUSTER_SOURCE=$here bash tests/run/gpus_train_the_same_model.sh; }
tests_without_gpu() { ctest --test-dir "$build" --output-on-failure -j 8 -L 'kernels|comm|cuda'; }

check "the GPU and its compiler" gpu
check "build with CUDA, warnings are errors" configure_and_build
if [ "$failed" -eq 0 ]; then
    check "operations against the reference" on_gpu test_cuda_table
    check "back end, streams, recordings" on_gpu test_cuda_backend
    check "memory and copies" on_gpu test_cuda_memory
    check "whole models against the reference" on_gpu test_cuda_engine
    check "same bits on 1, 2, 3, 4 ranks, NCCL and MPI" whole_runs
    check "the tests that need no GPU" tests_without_gpu
    if [ "$bench" -eq 1 ]; then
        check "benchmark beside PyTorch" scripts/bench_gpu.sh --quick --rounds 2 --output "$logs/bench.md"
    fi
fi
echo
echo "| check | time | result |"
echo "| --- | --- | --- |"
printf '%s\n' "${rows[@]}"
[ ! -s "$logs/bench.md" ] || { echo && cat "$logs/bench.md"; }
exit "$failed"
