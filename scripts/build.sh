#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds one CMake preset (default: release, into build/), after installing what is missing. Extra arguments go to cmake.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
[ $# -eq 0 ] || shift
scripts/setup.sh
cmake --preset "$preset" "$@" >/dev/null
cmake --build --preset "$preset"
