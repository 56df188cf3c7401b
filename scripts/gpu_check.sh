#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/gpu_check.sh [--bundle FILE.tar.gz] [--output FOLDER] [--minutes N] [--only WORDS] [--without WORDS] [--emulated]
# Everything that only a machine with a GPU can show, on one GPU in N minutes (9): every operation and whole models against
# the reference, training on 1 to 4 ranks that share the GPU, speed, the sanitizer, speed beside PyTorch (where PYTHON has
# it). What tells most comes first; each check has a time limit; what is found is in FOLDER (build/gpu-check) at once:
# table.md, log.txt, gpu.csv, bench*.md. With --bundle nothing is built: the programs are those of scripts/gpu_bundle.sh,
# and the machine needs a driver, cuBLASLt, cuDNN and NCCL, PyTorch's own or others. --only, --without: checks whose name
# matches, or does not (extended regular expressions). --emulated: without a GPU, over the emulated plug-in.
# Exit 0 when all that was checked is good, 1 when not, 2 where nothing could be checked. docs/benchmarks/GPU.md has more.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here" || exit 1
bundle='' output=$here/build/gpu-check minutes=9 only='' without='' emulated=0 patience=1
usage() { sed -n '3,11s/^# //p' scripts/gpu_check.sh; }
while [ $# -gt 0 ]; do
    case $1 in
    --emulated) emulated=1 minutes=60 patience=10 ;;
    --bundle | --output | --minutes | --only | --without)
        [ $# -ge 2 ] || { usage >&2 && exit 2; }
        declare "${1#--}=$2" && shift
        ;;
    --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if [ "$emulated" -eq 0 ] && ! timeout -k 5 30 nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu_check: no GPU: nvidia-smi finds none. Nothing was checked; --emulated checks what needs none." >&2
    exit 2
fi
mkdir -p "$output" || exit 2
log=$output/log.txt table=$output/table.md
prefix='' watcher=''
trap '[ -z "$watcher" ] || kill "$watcher"; rm -rf "$prefix"' EXIT
: >"$log"
printf '| check | time | result |\n| --- | --- | --- |\n' | tee "$table"
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_pml=ob1
export PRTE_MCA_rmaps_default_mapping_policy=slot:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMP_WAIT_POLICY=passive CK_FORK=no

failed=0 code=0 deadline=$((SECONDS + minutes * 60))
wanted() { [[ $1 =~ $only ]] && [[ -z $without || ! $1 =~ $without ]]; }

# check SECONDS NAME COMMAND...: one line of the table. Neither a hang nor a failure keeps the others from being run; what
# has not a quarter of its time left is not begun.
check() {
    local limit=$(($1 * patience)) name=$2 started=$SECONDS left=$((deadline - SECONDS)) said=good warning
    shift 2
    code=0
    wanted "$name" || return 0
    printf '\n=== %s\n' "$name" >>"$log"
    local begin=$(($(stat -c %s "$log") + 1))
    if [ "$left" -le $((limit / 4)) ]; then
        code=1 said="not run: the time is over"
    else
        timeout -k 5 $((left < limit ? left : limit)) "$@" >>"$log" 2>&1 </dev/null || code=$?
        case $code in
        0)
            warning=$(tail -c "+$begin" "$log" | sed -n 's/^muster: warning: //p' | head -n 1)
            [ -z "$warning" ] || said="good, but: $warning"
            ;;
        77) said="skipped: $(tail -c "+$begin" "$log" | tail -n 1)" code=0 ;;
        124 | 137) said="STOPPED at its time limit" ;;
        *) said="FAILED, exit code $code" ;;
        esac
    fi
    [ "$code" -eq 0 ] || failed=1
    printf '| %-52s | %4d s | %s |\n' "$name" $((SECONDS - started)) "$said" | tee -a "$table"
    [ "$code" -eq 0 ] || tail -c "+$begin" "$log" | tail -n 12 | sed 's/^/    /'
}

# Where the libraries are that the plug-in needs, in folders that the loader is then told: those that PyTorch brings before
# others, so that both sides of a comparison stand on the same, and for what is still missing, wherever it lies.
libraries_find() {
    local missing place
    MORE_LIBRARIES=$(timeout -k 5 60 "$python" -c 'import glob, sys
print(":".join(found for place in sys.path for found in sorted(glob.glob(glob.escape(place) + "/nvidia/*/lib"))))' 2>/dev/null)
    export MORE_LIBRARIES
    for missing in $("${run[@]}" ldd "$1" | awk '/not found/ { print $1 }'); do
        place=$(timeout -k 5 60 find -L /usr /opt /root /home -name "$missing" -print -quit 2>/dev/null)
        [ -z "$place" ] || MORE_LIBRARIES=${MORE_LIBRARIES:+$MORE_LIBRARIES:}${place%/*}
    done
}

python=${PYTHON:-python3}
build=$here/build run=(env) commit=$(git describe --always --dirty 2>/dev/null)
if [ -n "$bundle" ]; then
    prefix=$(mktemp -d "${TMPDIR:-/tmp}/muster-gpu-check.XXXXXX")
    tar -C "$prefix" -xzf "$bundle" || exit 2
    build=$prefix/build run=("$prefix/run" env) PATH=$prefix/bin:$PATH
    commit=$(cat "$prefix/commit" 2>/dev/null)
fi
plugin=$build/bin/libmuster_cuda.so
[ "$emulated" -eq 0 ] || plugin=$build/tests/libmuster_cuda_emulated.so
# test_of SECONDS NAME PROGRAM [WORD...]
test_of() { check "$1" "$2" "${run[@]}" MUSTER_CUDA_PLUGIN="$plugin" MUSTER_SOURCE="$here" "$build/$3" "${@:4}"; }
runs_across() {
    check "$1" "$2" "${run[@]}" MUSTER_CUDA_PLUGIN="$plugin" MUSTER_TEST_GPU=$((1 - emulated)) MUSTER_TEST_ACROSS="$3" \
        MUSTER_BIN="$build/bin" MUSTER_SOURCE="$here" bash tests/run/gpus_train_the_same_model.sh
}
# PyTorch must not see the bundle's libraries, and does not: mpirun alone brings them.
speed() {
    local limit=$1 name=$2
    shift 2
    [ "$emulated" -eq 0 ] || set -- "$@" --emulated
    check "$limit" "$name" env MUSTER_CUDA_PLUGIN="$plugin" MUSTER_COMMIT="$commit" WORKER="$build/bin/muster-worker" \
        scripts/bench_gpu.sh "$@"
}

if [ "$emulated" -eq 0 ]; then
    # shellcheck disable=SC2016 # expanded by the inner shell
    check 30 "the GPU and its driver" bash -c 'nvidia-smi || exit 1
        { nvidia-smi -q; uname -a; lscpu; free -g; df -h . /tmp /dev/shm; cat /etc/os-release /etc/hosts; ls -l /usr/local
            command -v nvcc gcc compute-sanitizer "$1"; ldd --version | head -n 1; echo "programs of commit $2"; } 2>&1
        exit 0' - "$python" "$commit"
    # The driver puts a GPU down that no process has open, and the next one waits seconds for it: this keeps it.
    nvidia-smi --query-gpu=timestamp,clocks.sm,power.draw,temperature.gpu,utilization.gpu,memory.used \
        --format=csv --loop=5 >"$output/gpu.csv" 2>&1 </dev/null &
    watcher=$!
fi
if [ -z "$bundle" ]; then
    check 420 "build with CUDA" bash -c 'cmake --preset release -DMUSTER_CUDA=ON -DMUSTER_TESTS=ON &&
        cmake --build --preset release --target muster muster-worker muster_cuda muster_cuda_emulated \
            test_cuda_table test_cuda_backend test_cuda_large test_cuda_memory test_cuda_sum test_cuda_engine bench_products'
fi
libraries_find "$plugin"
# shellcheck disable=SC2016 # expanded by the inner shell
check 20 "every library is there" "${run[@]}" bash -c 'ldd "$@"; ! ldd "$@" | grep "not found"' - "$plugin" "$build/bin/muster-worker"
[ "$code" -eq 0 ] || exit 1
test_of 90 "memory, copies, recordings, times" tests/test_cuda_memory
test_of 90 "products and attention" tests/test_cuda_backend
test_of 90 "every other operation" tests/test_cuda_table
[ "$emulated" -eq 1 ] || export MUSTER_TEST_TOKENS=4096
test_of 90 "products and attention of real size" tests/test_cuda_large
test_of 60 "the exact sum in one launch" tests/test_cuda_sum
test_of 90 "whole models against the reference and PyTorch" tests/test_cuda_engine
runs_across 200 "same bits on 1, 2, 3, 4 ranks through host memory" mpi
few=() # tokens and runs, where they take long
[ "$emulated" -eq 0 ] || few=(16 1)
test_of 60 "speed of each product" bin/bench_products "${few[@]}"
speed 150 "speed of muster alone" --quick --no-torch --rounds 1 --output "$output/bench.md"
runs_across 200 "same bits on 1, 2, 3, 4 ranks over NCCL" nccl
# Libraries try calls that they can do without: what the interface refuses is no error here.
sanitizer() {
    check "$1" "$2" "${run[@]}" MUSTER_CUDA_PLUGIN="$plugin" \
        compute-sanitizer --tool "$3" --report-api-errors no --error-exitcode 9 "$build/tests/test_cuda_table"
}
if [ "$emulated" -eq 0 ] && command -v compute-sanitizer >/dev/null; then
    sanitizer 90 "no access out of bounds" memcheck
    sanitizer 60 "no race in shared memory" racecheck
fi
if ! wanted "speed beside PyTorch" && ! wanted "speed of 1.5B beside PyTorch"; then
    :
elif timeout -k 5 60 "$python" -c "import numpy, torch; assert $emulated or torch.cuda.is_available()" >>"$log" 2>&1; then
    speed 530 "speed beside PyTorch" --quick --rounds 2 --output "$output/bench-pytorch.md"
    speed 480 "speed of 1.5B beside PyTorch" --only 1.5B --rounds 2 --output "$output/bench-1.5B.md"
else
    echo "$python has no torch with numpy that finds a GPU: nothing was compared with PyTorch." | tee -a "$table"
fi
if [ "$emulated" -eq 0 ] && [ "$(nvidia-smi -L | wc -l)" -eq 1 ]; then
    echo "One GPU: NCCL refuses two ranks on one unless they pose as hosts of their own, as they did here (MUSTER_SHARE_GPU):
checked is NCCL with one rank and, if the line above is good, over its sockets. NCCL between GPUs, over NVLink or InfiniBand, is not." | tee -a "$table"
fi
exit "$failed"
