#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A program that saves without pause on an ext4 image whose journal commits only when asked; it is stopped in the
# middle, and the image copied: that is what a power cut leaves. On the copy the newest acknowledged checkpoint, or a
# newer one, verifies, and so does the one before it. MUSTER_POWER_CUTS sets how many cuts (2).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

command -v mkfs.ext4 >/dev/null || skip 'no mkfs.ext4'
own_mounts=(unshare --mount)
[[ $(id -u) -eq 0 ]] || skip 'a loop device needs root'

RANDOM=${MUSTER_TEST_SEED:-$$}
echo "seed ${MUSTER_TEST_SEED:-$$} (MUSTER_TEST_SEED repeats its choices)"

# cut ACKNOWLEDGED: after so many saves.
cut() {
    local wanted=$1 newest=0 line driver found
    truncate -s 16M "$shared/disk"
    mkfs.ext4 -q -F "$shared/disk"
    mount -o loop,commit=300 "$shared/disk" "$folder/disk"
    mkdir "$folder/disk/checkpoints"
    sync -f "$folder/disk"
    rm -f "$folder/pipe"
    mkfifo "$folder/pipe"
    "$MUSTER_BIN/../tests/save_driver" many "$folder/disk/checkpoints" 1000000 >"$folder/pipe" &
    driver=$!
    exec {pipe}<"$folder/pipe" # stays open: the program must not end before it is stopped
    while ((newest < wanted)) && IFS= read -r -t 60 -u "$pipe" line; do
        newest=${line#acknowledged }
    done
    kill -STOP "$driver"
    until grep -q '^State:.[Tt]' "/proc/$driver/status"; do :; done
    cp "$shared/disk" "$shared/cut"
    kill -KILL "$driver"
    wait "$driver" 2>/dev/null || true
    exec {pipe}<&-
    umount "$folder/disk"
    mount -o loop "$shared/cut" "$folder/disk"
    "$MUSTER_BIN/muster" ckpt verify "$folder/disk/checkpoints" >"$folder/out" 2>&1 || true
    found=$(sed -nE 's/^step-0*([0-9]+) +ok .*/\1/p' "$folder/out" | sort -n)
    umount "$folder/disk"
    (($(tail -n 1 <<<"$found") >= newest)) || fail "step $newest was acknowledged, what verifies: $(xargs <<<"$found")"
    (($(wc -l <<<"$found") >= 2)) || fail "step $newest was acknowledged, only one verifies"
}

cuts() {
    for ((i = 0; i < ${MUSTER_POWER_CUTS:-2}; i++)); do
        cut $((RANDOM % 40 + 3))
    done
    echo "$i power cuts, no acknowledged checkpoint lost"
}

mkdir "$folder/disk"
truncate -s 16M "$shared/disk"
mkfs.ext4 -q -F "$shared/disk"
"${own_mounts[@]}" mount -o loop "$shared/disk" "$folder/disk" 2>/dev/null || skip 'no loop device may be mounted here'
export -f cut cuts fail
export folder shared RANDOM
"${own_mounts[@]}" bash -euo pipefail -c cuts
