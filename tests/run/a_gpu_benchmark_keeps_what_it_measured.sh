#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# scripts/bench_gpu.sh is for minutes on a machine that is lent: what was measured is in the table at once, a program that
# fails leaves the others theirs and says why, and no run goes on after its last step for a checkpoint that nobody wants.
# Over the emulated plug-in.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ -n ${MUSTER_CUDA_PLUGIN:-} ]] || skip "built without CUDA"
command -v python3 >/dev/null || skip "no python3"
bench=$MUSTER_SOURCE/scripts/bench
export PYTHONDONTWRITEBYTECODE=1

# The loss of a fresh model is held against what it must be: a large one's is not the small one's. Both are PyTorch's.
PYTHONPATH=$bench python3 - <<'END' || fail "the first losses of fresh models are others"
import cases
small, large = (next(c for c in cases.make_cases("cuda", False) if name in c.name) for name in ("124M, 0.5M", "1.5B"))
assert abs(small.first_loss - 10.930) < 0.1 and abs(large.first_loss - 11.149) < 0.1, (small.first_loss, large.first_loss)
END

# An attention that does not compile is no reason to have no compiled PyTorch to compare with; in eager mode it is none to try.
PYTHONPATH=$bench python3 - <<'END' 2>/dev/null || fail "what does not compile with one attention is left out"
import bench, cases, launch
tried = []
def fails_with_cudnn(args, case, variant, work, attention):
    tried.append((variant, attention))
    if attention == "cudnn":
        raise launch.RunFailed("strides")
    return "measured"
bench.run_variant = fails_with_cudnn
case = cases.make_cases("cuda", True)[0]
assert bench.run_somehow(None, case, "PyTorch compiled", None, "cudnn") == "measured"
try:
    bench.run_somehow(None, case, "PyTorch", None, "cudnn")
    raise AssertionError("eager mode was tried again")
except launch.RunFailed:
    assert tried == [("PyTorch compiled", "cudnn"), ("PyTorch compiled", "default"), ("PyTorch", "cudnn")], tried
END

# A PyTorch that does not start, and a worker whose last checkpoint never ends; told to, it does not even begin.
mkdir "$folder/broken" "$folder/work"
mkfifo "$folder/never" "$folder/begun"
echo 'raise ImportError("this PyTorch is broken")' | tee "$folder/broken/numpy.py" >"$folder/broken/torch.py"
cat >"$folder/muster-worker" <<'END'
#!/bin/sh
exec 3<>"$FOLDER/never"
[ ! -s "$FOLDER/table.md" ] || [ ! -e "$FOLDER/hang" ] || { echo "$$" >"$FOLDER/begun" && read -r _ <&3; }
"$MUSTER_BIN/muster-worker" "$@"
read -r _ <&3
END
chmod +x "$folder/muster-worker"
export FOLDER=$folder

# start_bench ARGUMENT...: in the background; it prints to $folder/out and writes $folder/table.md.
start_bench() {
    PYTHONPATH=$folder/broken timeout 100 python3 "$bench/bench.py" --device cuda --emulated --quick --rounds 1 \
        --worker "$folder/muster-worker" --output "$folder/table.md" --work "$folder/work" "$@" >"$folder/out" 2>&1 </dev/null &
    job_pid=$!
}
end_bench() {
    status=0
    wait "$job_pid" || status=$?
    job_pid=
}
rows() { grep -cE "^\| tiny, .* \| $1 \| [0-9]+ \(" "$folder/table.md" || true; }

start_bench
end_bench
must_exit 1
must_equal "rows of muster" 2 "$(rows 'muster exact')"
must_equal "rows of PyTorch" 0 "$(rows PyTorch)"
must_say 'this PyTorch is broken'
grep -q '^\* Left out, because it failed: tiny, 2 micro-steps, bf16, PyTorch$' "$folder/table.md" || fail "who failed is not said"

# Stopped while the second model is measured: the first one's row is there, and nothing stays behind.
rm "$folder/table.md"
touch "$folder/hang"
start_bench --no-torch
read -r -t 60 rank <"$folder/begun" || fail "the second model was never begun"
must_equal "rows of muster when stopped" 1 "$(rows 'muster exact')"
kill -TERM "$job_pid"
end_bench
must_exit 143
[[ $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$rank/status" 2>/dev/null) =~ ^Z?$ ]] || fail "a rank stayed behind"
