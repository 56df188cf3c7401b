#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What of the container recipe can be checked without building an image: what it copies, runs and passes on is in the source, and
# every Debian package it installs is in the lists of the distribution it starts from. Says what is wrong and exits 1; on another
# distribution, or without its lists (apt-get update), only the first half is checked, and that is said.
set -euo pipefail
cd "$(dirname "$0")/.."
recipe=scripts/container/muster.def
bad=0
complain() {
    echo "$recipe: $*"
    bad=1
}

# section NAME: its lines, without comments.
section() { awk -v name="%$1" '/^%/ { inside = $1 == name; next } inside && NF { sub(/ #.*/, ""); print }' "$recipe"; }

while read -r from _; do
    [[ -e $from ]] || complain "copies $from, which is not there"
done < <(section files)
[[ -n $(section post) && -n $(section files) ]] || complain 'has no files or nothing to do'
while read -r program words; do
    [[ $program != */* || -x $program ]] || complain "runs $program, which is not a program of the source"
    for word in $words; do
        case $word in
        -DMUSTER_*=*)
            name=${word#-D}
            grep -rqE "(option|set)\(${name%%=*} " CMakeLists.txt cmake || complain "$word is no option of the build" ;;
        esac
    done
done < <(section post)
grep -q "\"name\": \"$(section post | sed -n 's|.*scripts/build.sh \([a-z]*\).*|\1|p')\"" CMakePresets.json ||
    complain 'builds a preset that is not there'
for program in $(section test | grep -o 'bin/[a-z-]*'); do
    grep -rqE "add_executable\(${program#bin/} " coordinator worker || complain "tests $program, which nobody builds"
done

wanted=$(sed -n 's/^From: *//p' "$recipe")
# shellcheck source=/dev/null
here=$(. /etc/os-release 2>/dev/null && echo "${ID:-}:${VERSION_ID:-}") || here=
mapfile -t packages < <(scripts/setup.sh --list)
known=
[[ $here != "$wanted" ]] || known=$(LC_ALL=C apt-cache policy "${packages[@]}" |
    awk '/^[^ ]/ { sub(/:$/, ""); name = $0 } /^  Candidate: [^(]/ { print name }')
if [[ -z $known ]]; then
    echo "packages not looked up: this is ${here:-another system}, not $wanted, or it has no lists of packages"
else
    for package in "${packages[@]}"; do
        grep -qxF -- "$package" <<<"$known" || complain "$wanted has no package $package"
    done
    echo "${#packages[@]} packages looked up"
fi
exit "$bad"
