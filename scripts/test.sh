#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what is missing, builds with warnings as errors, and runs every test that needs no GPU. The tests that want real data
# look in $MUSTER_TEST_DATA and say so when they skip.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${MUSTER_TEST_DATA:-}" ] && [ -d ../shared/data ]; then
    MUSTER_TEST_DATA=$(cd ../shared/data && pwd)
    export MUSTER_TEST_DATA
fi
scripts/setup.sh --tests
scripts/build.sh release -DMUSTER_WERROR=ON -DMUSTER_TESTS=ON
ctest --test-dir build --output-on-failure -j 2 "$@"
