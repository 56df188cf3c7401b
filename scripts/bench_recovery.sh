#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Time from the death of a rank to the next finished step, `muster run` beside torchrun with a DCP reload of the same
# model, as a Markdown table. PYTHON names a Python that has torch and numpy; MUSTER_BIN says where the programs are.
# Options: --deaths N (of a run, 10), --rounds N (3), --small (one small model).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1
PYTHON=${PYTHON:-$here/.venv/bin/python}
"$PYTHON" -c 'import numpy, torch' || {
    echo "bench_recovery: $PYTHON has no torch or no numpy" >&2
    exit 2
}
exec "$PYTHON" "$here/scripts/bench/bench_recovery.py" --binaries "${MUSTER_BIN:-$here/build/bin}" "$@"
