#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Trains the same GPTs with muster and with PyTorch (DDP over gloo) in turn and prints a Markdown table of tokens/s,
# peak memory, time to the first step, and what `reduce: exact` costs. docs/benchmarks/CPU.md says how and why.
# PYTHON names a Python that has torch and numpy; without it they are installed into .venv. WORKER names another
# muster-worker than the release build's. Options: --quick, --output FILE and what --help shows.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1
for argument; do
    if [ "$argument" = --help ]; then
        exec python3 "$here/scripts/bench/bench.py" --worker none --help
    fi
done

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$here/.venv/bin/python
    [ -x "$PYTHON" ] || python3 -m venv "$here/.venv"
    "$PYTHON" -c 'import numpy, torch' 2>/dev/null || "$PYTHON" -m pip install --quiet torch numpy
fi
"$PYTHON" -c 'import numpy, torch' || {
    echo "bench_cpu: $PYTHON has no torch or no numpy" >&2
    exit 2
}
if [ -z "${WORKER:-}" ]; then
    WORKER=$here/build/bin/muster-worker
    [ -x "$WORKER" ] || "$here/scripts/build.sh" release -DMUSTER_TESTS=OFF
fi
exec "$PYTHON" "$here/scripts/bench/bench.py" --worker "$WORKER" "$@"
