#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Trains GPT-2 on one GPU with muster and with PyTorch (eager and compiled; with CUDA graphs where launches take the time;
# with the attention that is fastest there) in turn and prints a Markdown table of
# tokens/s, TFLOP/s, peak GPU memory and time to the first step. PYTHON names a Python that has torch with CUDA and numpy (python3 unless
# told; with --no-torch any), WORKER another muster-worker than the release build's. Options: --quick, --output FILE and what --help shows;
# --emulated tries the script itself on a tiny model: muster with the plug-in that MUSTER_CUDA_PLUGIN names, PyTorch on the CPU.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1
PYTHON=${PYTHON:-python3}
torch=1 emulated=0
for argument; do
    case $argument in
    --help) exec python3 "$here/scripts/bench/bench.py" --worker none --help ;;
    --no-torch) torch=0 ;;
    --emulated) emulated=1 ;;
    esac
done
[ "$emulated" -eq 1 ] || nvidia-smi -L >/dev/null 2>&1 || {
    echo "bench_gpu: no GPU: nvidia-smi finds none" >&2
    exit 2
}
[ "$torch" -eq 0 ] || "$PYTHON" -c "import numpy, torch; assert $emulated or torch.cuda.is_available()" 2>/dev/null || {
    echo "bench_gpu: $PYTHON has no numpy, or no torch that finds a GPU; --no-torch measures muster alone" >&2
    exit 2
}
WORKER=${WORKER:-$here/build/bin/muster-worker}
[ -x "$WORKER" ] || {
    echo "bench_gpu: build first (scripts/gpu_check.sh does): no $WORKER" >&2
    exit 2
}
exec "$PYTHON" "$here/scripts/bench/bench.py" --device cuda --worker "$WORKER" "$@"
