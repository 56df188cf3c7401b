#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian or Ubuntu packages that building muster needs and that are missing; does nothing when all are there. With
# --tests also those that the tests of cluster runs need: Slurm, munge, an ssh server (the tests start their own, in namespaces;
# the system's need not run) and gnuplot. With --list it only names the packages.
set -euo pipefail

packages=(gcc libc6-dev cmake ninja-build pkg-config openmpi-bin libopenmpi-dev libhwloc-dev libdnnl-dev libyaml-dev libjansson-dev
    libxxhash-dev zlib1g-dev check)
if [ "${1:-}" = --tests ]; then
    packages+=(slurmctld slurmd slurm-client munge openssh-client openssh-server iproute2 gnuplot-nox)
fi
if [ "${1:-}" = --list ]; then
    printf '%s\n' "${packages[@]}"
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: this script installs Debian and Ubuntu packages; on another system install the equivalents of: ${packages[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "setup: missing packages, and neither root nor sudo to install them. As root, run:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
