#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# reduce: fast gives up the order of the sums and nothing else: the losses stay within 1e-4 of the exact ones. One rank
# with one logical worker has nothing to add, and there both must be the same bits.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# The largest difference between the losses of two runs.
furthest() {
    paste <(numbers "$1") <(numbers "$2") |
        sed -E 's/.*"loss": ([^,]+),.*"loss": ([^,]+),.*/\1 \2/' |
        awk '{ d = $1 - $2; d = d < 0 ? -d : d; worst = d > worst ? d : worst } END { print NR, worst + 0 }'
}

write_job exact train.max_steps=20
train 2 exact
write_job fast train.max_steps=20 parallel.reduce=fast
for ranks in 1 2 3 4; do
    train "$ranks" fast
    read -r steps worst < <(furthest exact fast)
    echo "$ranks ranks: the losses of $steps steps differ by $worst at most"
    must_equal 'steps compared' 20 "$steps"
    awk "BEGIN { exit !($worst < 1e-4) }" || fail "fast on $ranks ranks is $worst away from exact"
done

write_job exact parallel.logical_workers=1
train 1 exact
expected=$hash
write_job fast parallel.logical_workers=1 parallel.reduce=fast
train 1 fast
must_equal 'state hash of fast where there is nothing to add' "$expected" "$hash"
