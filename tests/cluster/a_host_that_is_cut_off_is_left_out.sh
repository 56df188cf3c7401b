#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The link of a host is cut while three hosts train. The run notices, names the host, and goes on from the newest
# checkpoint with the other two; the end is that of one undisturbed rank. What is left on the cut-off host belongs to an
# older epoch and ends.
# shellcheck source=ssh_lib.sh
. "$(dirname "$0")/ssh_lib.sh"

hosts_start 3
cd "$folder"
hostfile hosts 'node1 slots=1' 'node2 slots=1' 'node3 slots=1'
write_job cut cluster.interface=10.77.0.0/24 train.max_steps=1000000 checkpoint.save_interval=20
mkfifo pipe
on node1 "$MUSTER_BIN/muster" run cut.yaml --hostfile hosts >pipe 2>&1 </dev/null &
job_pid=$!
exec {pipe}<pipe
: >out
await '  saved [0-9]+$'
ip link set port2 down
await 'node2 does not answer: going on without it'
await '^step [0-9]+/'
grep 'node2 does not answer' out

# To a step that is near, on the two hosts that are left.
signal_pid=$(on node1 pgrep -o -x muster)
on node1 kill -USR1 "$signal_pid"
await_end
must_exit 75
must_say 'resumed from the checkpoint of step'
must_say 'restarting .*on 2 ranks'
steps=$(($(sed -nE 's/.*stopped and saved at step ([0-9]+) of.*/\1/p' out | tail -n 1) + 3))
write_job cut cluster.interface=10.77.0.0/24 train.max_steps="$steps" checkpoint.save_interval=0
hostfile hosts 'node1 slots=1' 'node3 slots=1'
muster_on_node1 run cut.yaml --hostfile hosts
must_exit 0
found=$(said_hash)
write_job alone train.max_steps="$steps" checkpoint.save_interval=0
OMPI_MCA_btl=self OMPI_MCA_oob_tcp_if_include=lo train 1 alone
must_equal "state hash of step $steps" "$hash" "$found"
for ((i = 0; i < 600; i++)); do
    on node2 pgrep -x muster-worker >/dev/null || exit 0
    sleep 0.1
done
fail "ranks live on at the host that was cut off"
