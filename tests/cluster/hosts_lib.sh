# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Several hosts for one test: namespaces with network, host name, processes, /dev/shm and /run of their own, joined by a
# bridge in the test's namespace, which is a host of the name "control" there. They share the file system, as a cluster's
# nodes do. A library that is sourced after this one says with host_service what each host runs.
# shellcheck source=namespace.sh
. "$(dirname "${BASH_SOURCE[0]}")/namespace.sh"
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../run/lib.sh
. "$MUSTER_SOURCE/tests/run/lib.sh"
deadline_s=150 # daemons on a busy machine

declare -A host_pid
export OMPI_MCA_pml=ob1
unset OMPI_MCA_btl OMPI_MCA_btl_vader_backing_directory OMPI_MCA_orte_tmpdir_base PRTE_MCA_prte_tmpdir_base

# The first process of a host; it goes on until it is killed, and all of the host with it.
host_script() {
    cat <<SCRIPT
mount -t proc proc /proc; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/tmp; hostname node$1; ip link set lo up
until ip -br address | grep -q 10.77.0.$1/; do sleep 0.02; done
$(host_service "$1")
while :; do sleep 1000 & wait \$!; done
SCRIPT
}

# host_start INDEX: nodeINDEX, for the first time or after host_kill.
host_start() {
    local i=$1 unshared
    host_script "$i" >"$folder/host.$i"
    unshare --net --uts --mount --ipc --pid --fork --kill-child bash "$folder/host.$i" </dev/null >/dev/null 2>&1 &
    unshared=$!
    until host_pid[node$i]=$(cat "/proc/$unshared/task/$unshared/children" 2>/dev/null) &&
        host_pid[node$i]=${host_pid[node$i]% } && [[ -n ${host_pid[node$i]} ]] &&
        [[ $(nsenter -t "${host_pid[node$i]}" -u hostname 2>/dev/null) == "node$i" ]]; do sleep 0.02; done
    ip link add "port$i" type veth peer name eth0 netns "${host_pid[node$i]}"
    ip link set "port$i" master bridge up
    nsenter -t "${host_pid[node$i]}" -n sh -c "ip link set eth0 up; ip address add 10.77.0.$i/24 dev eth0"
}

# host_kill INDEX: it loses its power; nobody is told.
host_kill() {
    ip link delete "port$1"
    kill -KILL "${host_pid[node$1]}"
}

# hosts_make COUNT: node1 … nodeCOUNT.
hosts_make() {
    local i
    {
        printf '%s\n' '127.0.0.1 localhost' '10.77.0.100 control'
        for ((i = 1; i <= 9; i++)); do echo "10.77.0.$i node$i"; done
    } >"$folder/etc-hosts"
    mount --bind "$folder/etc-hosts" /etc/hosts
    hostname control
    ip link add bridge type bridge 2>/dev/null || skip "this kernel has no bridges"
    ip link set bridge up
    ip address add 10.77.0.100/24 dev bridge
    for ((i = 1; i <= $1; i++)); do host_start "$i"; done
}

# on HOST WORD…: runs a command there.
on() {
    local host=$1
    shift
    nsenter -t "${host_pid[$host]}" -n -u -m -i -p --wd="$PWD" -- "$@"
}
