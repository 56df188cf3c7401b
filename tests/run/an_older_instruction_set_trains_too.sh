#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every instruction set the back end knows trains, is named in the first line, keeps the promise about ranks, and ends
# close to the others. One that this machine lacks is refused, not run.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

last_loss() { numbers tiny | tail -n 1 | sed -E 's/.*"loss": ([^,]+),.*/\1/'; }

ran=()
for precision in fp32 bf16; do
    write_job tiny model.type=llama train.precision=$precision model.dropout=0.1
    train 1 tiny
    best=$(last_loss)
    for set in baseline avx2; do
        if [[ $set == avx2 ]] && ! grep -qw avx2 /proc/cpuinfo; then
            worker 1 tiny --instruction-set avx2
            must_exit 1
            must_say 'avx2'
            continue
        fi
        train 1 tiny --instruction-set $set
        must_say "cpu $set "
        expected=$hash
        loss=$(last_loss)
        train 2 tiny --instruction-set $set
        must_equal "$precision on $set: state hash on 2 ranks" "$expected" "$hash"
        awk "BEGIN { d = $loss - $best; exit !(d * d < 1e-2 * 1e-2) }" ||
            fail "$precision on $set ends with loss $loss, on the best instruction set with $best"
        ran+=("$precision on $set: $expected")
    done
done
printf '%s\n' "${ran[@]}"

# Rounding that is not the same everywhere is told: between ranks, and since the checkpoint.
if grep -qw avx2 /proc/cpuinfo; then
    write_job mixed train.max_steps=4
    train 2 mixed --instruction-set baseline
    must_not_say 'round differently'
    resume 2 mixed --instruction-set baseline --set train.max_steps=5
    must_not_say 'numerics was'
    resume 2 mixed --instruction-set avx2 --set train.max_steps=6
    must_say 'changed since the checkpoint: train.max_steps was 5 and is 6; numerics was cpu baseline .* and is cpu avx2 '
    status=0
    # shellcheck disable=SC2016 # expanded by the rank's shell
    mpirun --timeout "$deadline_s" -n 3 bash -c \
        'set=avx2; [[ $OMPI_COMM_WORLD_RANK != 2 ]] || set=baseline; exec "$@" --instruction-set $set' - \
        "$MUSTER_BIN/muster-worker" "$folder/mixed.yaml" --set train.max_steps=7 >"$folder/out" 2>&1 </dev/null || status=$?
    must_exit 0
    must_say 'WARNING: 1 of 3 ranks round differently \(rank 2 is cpu baseline '
fi

worker 1 tiny --instruction-set sse9
must_say 'unknown instruction set "sse9"; there are baseline, avx2 and avx512'
[[ $status -ne 0 ]] || fail 'an unknown instruction set was accepted'
