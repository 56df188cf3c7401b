#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What saving costs GPT-2 124M on the CPU: stall, slow-down, rates against dd, and PyTorch's stall beside it, as a
# Markdown table. docs/benchmarks/CHECKPOINTS.md says how to read it. PYTHON names a Python with torch and numpy (without
# it the comparison is left out); WORKER another muster-worker than the release build's. Options as --help shows.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1
if [ -z "${WORKER:-}" ]; then
    WORKER=$here/build/bin/muster-worker
    [ -x "$WORKER" ] || "$here/scripts/build.sh" release -DMUSTER_TESTS=OFF
fi
if [ -n "${PYTHON:-}" ]; then
    set -- --python "$PYTHON" "$@"
fi
exec python3 "$here/scripts/bench/bench_checkpoint.py" --worker "$WORKER" "$@"
