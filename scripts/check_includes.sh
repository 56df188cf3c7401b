#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The rules of the tree that a compiler does not know: who may include whom
#   base <- {kernels, comm, model} <- coordinator <- worker
# (the coordinator includes neither kernels nor comm), the licence line that every source file begins with, files short enough
# to be read, and documents that name only files there are. Prints every offending line; exits 1 when there is one.
#
# usage: scripts/check_includes.sh [FOLDER OF THE SOURCE]
set -eu
cd "${1:-$(dirname "$0")/..}"
lines_max=800

# May a file in folder $1 include from these folders?
allowed() {
    case $1 in
    base) echo base ;;
    kernels | comm | model) echo "base|$1" ;;
    coordinator) echo "base|model|coordinator" ;;
    worker) echo "base|kernels|comm|model|coordinator|worker" ;;
    tests) echo "base|kernels|comm|model|coordinator|worker|tests|[^/\"]*" ;; # or a file beside it
    esac
}

sources() {
    find "$1" -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) | sort
}

offences() {
    for folder in base kernels comm model coordinator worker tests; do
        [ -d "$folder" ] || continue
        sources "$folder" | while read -r file; do
            grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file" |
                grep -vE "\"($(allowed "$folder"))(/[^\"]*)?\"" |
                sed "s|^\([0-9]*\):|$file:\1: $folder may not include this: |"
            head -n 1 "$file" | grep -q 'SPDX-License-Identifier: MIT' ||
                echo "$file:1: the first line is not SPDX-License-Identifier: MIT"
            lines=$(wc -l <"$file")
            [ "$lines" -le "$lines_max" ] || echo "$file:$lines: longer than $lines_max lines"
        done
    done
}

# Files of the tree that a document names and that are not there.
strangers() {
    for page in README.md docs/*.md docs/*/*.md; do
        [ -e "$page" ] || continue
        grep -noE '(^|[^A-Za-z0-9_./-])(base|kernels|comm|model|coordinator|worker|scripts|configs|tests|docs)/[A-Za-z0-9_./-]+\.(c|h|cu|cuh|sh|md|yaml|py|def)([^A-Za-z0-9_]|$)' "$page" |
            sed -E 's/^([0-9]+):[^A-Za-z0-9]?(.*\.[a-z]+)[^a-z]?$/\1 \2/' |
            while read -r line path; do
                [ -e "$path" ] || echo "$page:$line: there is no $path"
            done
    done
}

found=$(offences; strangers)
[ -z "$found" ] && exit 0
printf '%s\n' "$found"
exit 1
