#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One command from a fresh checkout to a transformer that has learnt to write C headers: installs what is missing, builds, prepares
# text that every development machine has, trains configs/quickstart.yaml on 2 ranks, and shows what came of it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
mkdir -p build
echo "quickstart: building (build/quickstart.log has the details; where nvcc is found it takes some minutes more)"
if ! scripts/build.sh release -DMUSTER_TESTS=OFF >build/quickstart.log 2>&1; then
    tail -n 30 build/quickstart.log >&2
    echo "quickstart: the build failed; its last lines are above, the rest is in build/quickstart.log" >&2
    exit 1
fi
run=out/quickstart
if [ ! -f "$run/data/train.bin" ]; then
    build/bin/muster data prepare --output "$run/data" --suffixes .h --max-bytes 8000000 /usr/include
fi
if [ -d "$run/checkpoints" ]; then
    echo "quickstart: $run holds an earlier run; it is continued (delete the folder to start over)"
fi
build/bin/muster run configs/quickstart.yaml -n 2

losses=$(sed -n 's/^{"step": [0-9]*, "loss": \([0-9.]*\),.*/\1/p' "$run/metrics.jsonl")
first=${losses%%$'\n'*}
last=${losses##*$'\n'}
printf '\nloss before %.3f, after %.3f (a byte picked at random costs 5.545)\n' "$first" "$last"
printf '\n--- text the model writes after "#include <" ---\n'
build/bin/muster generate "$run" --prompt '#include <' --tokens 240 --temperature 0.7 --seed 3
cat <<TEXT
---

results     $run (job.yaml, plan.json, metrics.jsonl, checkpoints/, logs/)
look again  build/bin/muster ckpt ls $run
your turn   build/bin/muster check configs/gpt2-124m.yaml
TEXT
