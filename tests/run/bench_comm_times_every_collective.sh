#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# muster bench comm: a line for every collective and size, for people and for programs, and wrong words are refused
# before anything is started. How fast it is nobody judges here.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# bench WORD...: what it prints is in $folder/out
bench() {
    status=0
    timeout "$deadline_s" "$MUSTER_BIN/muster" bench comm "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

operations='all_reduce reduce_scatter exact_reduce_scatter all_gather broadcast exchange'
bench -n 3 --min 4096 --max 65536 --iterations 2
must_exit 0
must_say '^3 ranks on 1 host over shared memory'
for operation in $operations; do
    for bytes in 4096 16384 65536; do
        must_say "^$operation +$bytes +2 +[0-9.]+ +[0-9.]+ +[0-9.]+\$"
    done
done

bench -n 2 --max 4096 --iterations 2 --csv --hierarchy off
must_exit 0
must_equal 'lines of CSV' 13 "$(wc -l <"$folder/out")"
# busbw is algbw times 2 (n-1)/n for all_reduce, 1 for broadcast, (n-1)/n otherwise
awk -F, '$1 == "all_reduce" || $1 == "broadcast" { want = $5 } $1 ~ /scatter|gather|exchange/ { want = $5 / 2 }
         NR > 1 && ($6 - want > 0.0002 || want - $6 > 0.0002) { print; bad = 1 } END { exit bad }' "$folder/out" ||
    fail 'busbw is not what algbw says'

bench -n 2 --max 1024 --iterations 2 --json
must_exit 0
must_equal 'objects' 6 "$(grep -c '"operation": ' "$folder/out")"
must_equal 'brackets' '[]' "$(head -c 1 "$folder/out")$(tail -c 2 "$folder/out" | head -c 1)"

bench --backend tcp
must_exit 2
must_say 'neither mpi nor nccl'
bench --min 100 --max 10
must_exit 2
bench --json --csv
must_exit 2
bench -n 2 --backend nccl --max 1024
[[ $status -ne 0 ]] || must_say 'ranks? on' # a machine with GPUs
