#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `muster run --hostfile` over hosts with names and addresses of their own: unequal slots, a link that is slow and one
# that is slow and late, and always the bits of one rank. A host that does not answer, lacks the program or lacks the
# data is named before it costs anything.
# shellcheck source=ssh_lib.sh
. "$(dirname "$0")/ssh_lib.sh"

hosts_start 3
write_job alone
OMPI_MCA_btl=self OMPI_MCA_oob_tcp_if_include=lo train 1 alone
cd "$folder"

# As many ranks as slots, on hosts of unequal size; variables go where ssh would not take them.
hostfile hosts 'node1 slots=2' '# a comment' 'node2 slots=1' 'node3 slots=1'
write_job over-ssh cluster.interface=10.77.0.0/24 cluster.forward='[TEST_FORWARDED]'
export TEST_FORWARDED=yes
muster_on_node1 run over-ssh.yaml --hostfile hosts
must_exit 0
must_say 'on 4 ranks'
must_say 'hosts: node1:2,node2:1,node3:1 \(by mpirun\); network here: '
must_say '4 ranks of 1 thread on 3 hosts'
must_equal "over ssh" "$hash" "$(said_hash)"
muster_on_node1 run over-ssh.yaml --hostfile hosts --dry-run
must_say ' -x TEST_FORWARDED '
must_say ' --wdir '

# A link of 20 Mbit/s: slower, the same bits.
on node2 tc qdisc add dev eth0 root tbf rate 20mbit burst 32k latency 400ms || skip "no tbf in this kernel"
write_job slow cluster.interface=eth0 train.max_steps=12
muster_on_node1 run slow.yaml --hostfile hosts
must_exit 0
must_say 'network here: Ethernet eth0'
must_equal "over a slow link" "$hash" "$(said_hash)"
on node2 tc qdisc del dev eth0 root

# A link that is late by 4 ms each way: slower again, the same bits.
if host_delay 3 4000; then
    write_job late cluster.interface=eth0
    muster_on_node1 run late.yaml --hostfile hosts
    must_exit 0
    must_equal "over a late link" "$hash" "$(said_hash)"
else
    echo "not tried: a late link; $(<"$folder/delay.3")"
fi

# Too few places, and words that are no hostfile.
muster_on_node1 run slow.yaml --hostfile hosts -n 5
must_exit 2
must_say '5 ranks, but hosts has 4 places: node1:2,node2:1,node3:1'
hostfile wrong 'node1 slots=2' 'node2 slot=1'
muster_on_node1 run slow.yaml --hostfile wrong
must_exit 2
must_say 'wrong:2: "slot=1": expected NAME'

# A host that does not answer is named, in less time than mpirun needs to notice that anything is wrong.
hostfile unreachable 'node1 slots=1' 'node2 slots=1' 'node9 slots=1'
began=$SECONDS
write_job never
muster_on_node1 run never.yaml --hostfile unreachable
must_exit 1
must_say '^node9: '
must_say '1 of 3 hosts cannot be used; nothing was started'
echo "a host that does not answer was named after $((SECONDS - began)) s; one that cannot be connected to has 8 s"
[[ ! -e $folder/never.run ]] || fail "something was started"

# A host without the data: the rank there says so, with its host and the file.
mkdir "$folder/data"
cp "$folder/text" "$folder/data/text"
on node3 mount -t tmpfs tmpfs "$folder/data"
write_job data data.train="$folder/data/text" supervisor.max_restarts=0
muster_on_node1 run data.yaml --hostfile hosts
[[ $status -ne 0 ]] || fail "it trained without data"
must_say 'node3'
must_say "$folder/data/text"
on node3 umount "$folder/data"

# A host without the program.
on node3 mount -t tmpfs tmpfs "$MUSTER_BIN"
muster_on_node1 run never.yaml --hostfile hosts
must_exit 1
must_say '^node3: lacks .*/muster-worker, or the folder'
