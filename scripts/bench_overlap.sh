#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How much of the communication hides behind the computation: two ranks in two network namespaces with a link of
# limited rate between them, muster and PyTorch (DDP over gloo) in turn; prints a Markdown table.
# docs/benchmarks/OVERLAP.md says what is measured and how. Needs root (for the namespaces), iproute2 with tbf, and
# PYTHON, a Python that has torch and numpy (or --no-torch). WORKER names another muster-worker than the release
# build's. Options: what --help shows.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONDONTWRITEBYTECODE=1
WORKER=${WORKER:-$here/build/bin/muster-worker}
for argument; do
    if [ "$argument" = --help ]; then
        exec python3 "$here/scripts/bench/bench_overlap.py" --worker none --help
    fi
done
[ "$(id -u)" = 0 ] || {
    echo "bench_overlap: network namespaces want root" >&2
    exit 77
}
[ -x "$WORKER" ] || "$here/scripts/build.sh" release -DMUSTER_TESTS=OFF
exec "${PYTHON:-python3}" "$here/scripts/bench/bench_overlap.py" --worker "$WORKER" "$@"
