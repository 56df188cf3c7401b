#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# scripts/gpu_check.sh is for minutes on a machine that is lent: a check that hangs or fails must keep no other from
# being run, and what was found must be in the folder at once. Over an archive whose programs are stand-ins, and with
# time limits of a second.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# stub FILE: a program of the archive, what it does on standard input.
stub() {
    mkdir -p "$folder/archive/$(dirname "$1")"
    { echo '#!/bin/sh' && cat; } >"$folder/archive/$1"
    chmod +x "$folder/archive/$1"
}
# shellcheck disable=SC2016 # expanded by the stand-ins
stub run <<<'exec "$@"'
stub build/tests/test_cuda_memory <<<'echo all is well; echo "muster: warning: it is slower" >&2'
stub build/tests/test_cuda_backend <<<'sleep 600'
stub build/tests/test_cuda_table <<<'echo wrong in the third digit; exit 3'
stub build/tests/test_cuda_large <<<'echo every bit'
# shellcheck disable=SC2016
stub build/tests/test_cuda_sum <<<'grep -q "third digit" "$FOUND/log.txt" && grep -q "^| every other" "$FOUND/table.md"'
stub build/tests/test_cuda_engine <<<'echo no such device; exit 77'
for file in build/bin/muster-worker build/tests/libmuster_cuda_emulated.so; do
    mkdir -p "$folder/archive/$(dirname "$file")"
    cp "$MUSTER_BIN/muster" "$folder/archive/$file"
done
tar -C "$folder/archive" -czf "$folder/archive.tar.gz" .
# timeout -k 5 LIMIT COMMAND...: a second is enough.
mkdir "$folder/bin"
printf '#!/bin/sh\nshift 3\nexec %s -k 5 1 "$@"\n' "$(command -v timeout)" >"$folder/bin/timeout"
chmod +x "$folder/bin/timeout"

# gpu_check ARGUMENT...: $status, $folder/out.
gpu_check() {
    status=0
    PATH=$folder/bin:$PATH FOUND=$folder/found "$MUSTER_SOURCE/scripts/gpu_check.sh" --emulated \
        --bundle "$folder/archive.tar.gz" --output "$folder/found" "$@" >"$folder/out" 2>&1 || status=$?
}

gpu_check --only 'library|copies|products|operation|one launch|models'
must_exit 1
sed -nE 's/^\| ([^|]*[^ |]) *\| +[0-9]+ s \| (.*) \|$/\1: \2/p' "$folder/found/table.md" >"$folder/rows"
diff - "$folder/rows" <<'EOF' || fail "the table says other things"
every library is there: good
memory, copies, recordings, times: good, but: it is slower
products and attention: STOPPED at its time limit
every other operation: FAILED, exit code 3
products and attention of real size: good
the exact sum in one launch: good
whole models against the reference and PyTorch: skipped: no such device
EOF
must_say 'wrong in the third digit'
grep -q 'all is well' "$folder/found/log.txt" || fail "the log lacks what a good check printed"

gpu_check --only copies
must_exit 0
gpu_check --without 'products|operation|one launch|models|bits|speed'
must_exit 0
grep -q 'memory, copies' "$folder/found/table.md" || fail "a check that is wanted was left out"
gpu_check --minutes 0 --only copies
must_exit 1
must_say 'not run: the time is over'
# 2000 seconds (ten times those of a GPU) with four minutes left are not worth their beginning.
gpu_check --minutes 4 --only 'library|host memory'
must_exit 1
must_say 'every library .* good'
must_say 'host memory .* 0 s . not run: the time is over'

# With a GPU its clock and memory are written down meanwhile, and who does so ends with the check.
cat >"$folder/bin/nvidia-smi" <<'END'
#!/bin/sh
case $* in *--loop=*) echo "$$" && exec sleep 600 ;; esac
echo "GPU 0: a likeness"
END
chmod +x "$folder/bin/nvidia-smi"
cp "$folder/archive/build/tests/libmuster_cuda_emulated.so" "$folder/archive/build/bin/libmuster_cuda.so"
tar -C "$folder/archive" -czf "$folder/archive.tar.gz" .
status=0
PATH=$folder/bin:$PATH "$MUSTER_SOURCE/scripts/gpu_check.sh" --bundle "$folder/archive.tar.gz" --output "$folder/found" \
    --only 'driver|library|copies' >"$folder/out" 2>&1 || status=$?
must_exit 0
must_say 'the GPU and its driver .* good'
watcher=$(<"$folder/found/gpu.csv")
[[ $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$watcher/status" 2>/dev/null) =~ ^Z?$ ]] || fail "who watched the GPU stayed behind"

# The libraries of PyTorch's folders come before others.
if command -v python3 >/dev/null; then
    mkdir -p "$folder/site/nvidia/cu13/lib"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho "libraries: $MORE_LIBRARIES"\n' >"$folder/archive/build/tests/test_cuda_memory"
    tar -C "$folder/archive" -czf "$folder/archive.tar.gz" .
    PYTHONPATH=$folder/site gpu_check --only copies
    must_exit 0
    grep -Eq "^libraries: ([^:]*:)*$folder/site/nvidia/cu13/lib(:|$)" "$folder/found/log.txt" || fail "PyTorch's libraries were not found"
fi
