#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Signals in the middle of matrix products: the generated kernels do not survive a handler on their stack, so the worker
# must take signals without one (worker/stop_signal.h). With a handler about every second of these runs dies.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job storm model.hidden_size=128 model.num_heads=4 data.seq_len=128 train.micro_batch_size=4 \
    train.global_batch_size=32 train.max_steps=1000000 checkpoint.resume=never
for round in 1 2 3 4; do
    rm -rf "$folder/storm.run"
    start 1 storm
    await '^step 1/'
    for _ in {1..400}; do
        signal_rank USR1 0
    done
    await_end
    must_exit 75
    must_say 'stopped and saved at step'
    echo "round $round: stopped and saved"
done
