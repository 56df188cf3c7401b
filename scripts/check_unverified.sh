#!/bin/sh
# SPDX-License-Identifier: MIT
#
# docs/benchmarks/UNVERIFIED.md names every function of the files that no GPU has run. Prints what is missing, too much
# or out of order there and exits 1; a file whose row was taken out for good is not looked at any more.
#
# usage: scripts/check_unverified.sh [--write]     (--write: puts the rows right)
set -eu
cd "$(dirname "$0")/.."
page=docs/benchmarks/UNVERIFIED.md

# The row of a file: its function definitions, which are where a line is nothing but an opening brace.
row() {
    awk -v file="$1" '
        /^$/ || /^[}#]/ || /\*\/$/ { head = ""; next }
        !/^\{$/ { head = head " " $0; next }
        {
            gsub(/__(launch_bounds|attribute)__ *\(\(?[^)]*\)?\)/, "", head)
            gsub(/template <[^>]*>/, "", head)
            name = ""
            if (match(head, /CUDA_OPERATION\([a-z_0-9]+/))
                name = "cuda_" substr(head, RSTART + 15, RLENGTH - 15)
            else if (match(head, /[A-Za-z_0-9]+\(/))
                name = substr(head, RSTART, RLENGTH - 1)
            if (name != "" && !(name in seen))
                names = names " `" name "`"
            seen[name] = 1
            head = ""
        }
        END { print "| `" file "` |" names " |" }' "$1"
}

# shellcheck disable=SC2016 # the page's own quotes
listed() { sed -nE 's/^\| `([a-z_0-9]+\/[a-z_0-9\/.]+)` \|.*/\1/p' "$page"; }

rows=$(for file in $(listed); do row "$file"; done)
if [ "${1:-}" = --write ]; then
    printf '%s\n' "$rows" >"$page.rows"
    awk -v rows="$page.rows" '/^\| `[a-z]+\// { getline < rows } { print }' "$page" >"$page.new"
    rm "$page.rows"
    mv "$page.new" "$page"
fi
if [ "$rows" != "$(grep -E '^\| `[a-z]+/' "$page")" ]; then
    echo "$page names other functions than its files have; scripts/check_unverified.sh --write puts it right:"
    printf '%s\n' "$rows" | grep -vxF -f "$page"
    exit 1
fi
