#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The short form of the fault campaign: every fault point, process and action at least once. docs/FAILURES.md says what a
# cell is; `scripts/fault_campaign.sh --cells 500` is the long form.
set -euo pipefail
: "${MUSTER_SOURCE:?where the sources are}"
exec "$MUSTER_SOURCE/scripts/fault_campaign.sh" --cells 60 --seed 7
