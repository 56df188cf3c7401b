#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What nvcc makes of a group of 16 bytes: each kernel that moves groups loads and stores some of them in one piece, and
# none keeps its arrays in local memory. Looks at PTX, so it needs no device; NVCC and MUSTER_SOURCE are set by CTest.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# broken FILE: the kernels of a PTX file that lack a whole load or store, or use local memory.
broken() {
    awk '
        function judge() {
            if (name != "" && (!loads || !stores || local_memory))
                print name ": whole loads " loads + 0 ", whole stores " stores + 0 ", local memory " local_memory + 0
        }
        /\.entry/ { judge(); name = $0; sub(/.*\.entry /, "", name); sub(/\(.*/, "", name); loads = stores = local_memory = 0 }
        /ld\.global\.v4\./ { loads++ }
        /st\.global\.v4\./ { stores++ }
        /[ls][dt]\.local\./ { local_memory++ }
        END { judge() }' "$1"
}

for part in pointwise norm; do
    "$NVCC" -ptx -arch=compute_80 --fmad=false -I "$MUSTER_SOURCE" "$MUSTER_SOURCE/kernels/cuda/cuda_$part.cu" \
        -o "$folder/$part.ptx"
    grep -q '\.entry' "$folder/$part.ptx"
    broken "$folder/$part.ptx" >>"$folder/broken"
done
[[ ! -s $folder/broken ]] || { cat "$folder/broken"; exit 1; }
