#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A machine that was measured is known to the plan and to the summary of every run, and changes no bit of the result. Whether the
# prediction is any good is not tested here: that takes a quiet machine.
# shellcheck source=tests/run/lib.sh
. "$(dirname "$0")/lib.sh"
export XDG_CACHE_HOME=$folder/cache

write_job plain
train 2 plain
undisturbed=$hash
must_not_say 'predicted|WARNING'

status=0
"$MUSTER_BIN/muster" bench machine --brief >"$folder/out" 2>&1 || status=$?
must_exit 0
must_say '^device: cpu$'
must_say '^  matrix_bf16: [0-9]'
must_say '^  latency: [0-9]'
must_say 'briefly: not to be relied on'

train 2 plain
must_equal 'hash with a prediction' "$undisturbed" "$hash"
must_say '^  step time +[0-9.]+ ms predicted for .*, [0-9.]+ ms measured \(median of 12\): prediction [-+][0-9.]+% off$'
"$MUSTER_BIN/muster" plan "$folder/plain.yaml" -n 2 >"$folder/out" 2>&1 || fail "no plan"
must_say '^predicted for 1 host of 2 ranks'

write_job silent machine.profile=none
train 2 silent
must_not_say 'predicted'

write_job wrong machine.profile=nowhere.yaml
train 2 wrong
must_equal 'hash with a profile that is not there' "$undisturbed" "$hash"
must_say 'WARNING: no prediction of the step time: .*nowhere.yaml'
must_not_say 'predicted for'
