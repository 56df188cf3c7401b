# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Several hosts for one test: namespaces with network, host name, processes, /dev/shm and sshd of their own, joined by
# a bridge in the test's namespace. They share the file system, as a cluster's nodes do. node1 is where muster runs.
# shellcheck source=namespace.sh
. "$(dirname "${BASH_SOURCE[0]}")/namespace.sh"
for program in ssh sshd ssh-keygen; do
    command -v "$program" >/dev/null || [[ -x /usr/sbin/$program ]] ||
        skip_at_once "$program is not installed (packages openssh-client, openssh-server)"
done
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=../run/lib.sh
. "$MUSTER_SOURCE/tests/run/lib.sh"
deadline_s=150 # daemons and ssh on a busy machine

declare -A host_pid
ssh_folder=$folder/ssh
export OMPI_MCA_plm_rsh_agent="ssh -F $ssh_folder/config" PRTE_MCA_plm_ssh_agent="ssh -F $ssh_folder/config"
export OMPI_MCA_pml=ob1
unset OMPI_MCA_btl OMPI_MCA_btl_vader_backing_directory OMPI_MCA_orte_tmpdir_base PRTE_MCA_prte_tmpdir_base

ssh_configure() {
    mkdir -p "$ssh_folder"
    chmod 700 "$ssh_folder"
    ssh-keygen -q -t ed25519 -N '' -f "$ssh_folder/host"
    ssh-keygen -q -t ed25519 -N '' -f "$ssh_folder/user"
    cp "$ssh_folder/user.pub" "$ssh_folder/authorized"
    printf '%s\n' Port\ 22 "HostKey $ssh_folder/host" "AuthorizedKeysFile $ssh_folder/authorized" 'StrictModes no' \
        'PermitRootLogin yes' 'UsePAM no' 'PidFile none' 'AcceptEnv none' >"$ssh_folder/sshd_config"
    printf '%s\n' 'Host *' "IdentityFile $ssh_folder/user" 'StrictHostKeyChecking no' 'UserKnownHostsFile /dev/null' \
        'LogLevel ERROR' 'ServerAliveInterval 2' 'ServerAliveCountMax 2' >"$ssh_folder/config"
}

# The first process of a host; it goes on until it is killed, and all of the host with it.
host_script() {
    cat <<SCRIPT
mount -t proc proc /proc; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run; mkdir /run/sshd
mount --bind "$folder/etc-hosts" /etc/hosts; mount -t tmpfs tmpfs /var/tmp; hostname node$1; ip link set lo up
until ip -br address | grep -q 10.77.0.$1/; do sleep 0.02; done
/usr/sbin/sshd -f "$ssh_folder/sshd_config" -E "$folder/sshd.$1.log"
while :; do sleep 1000 & wait \$!; done
SCRIPT
}

# hosts_start COUNT: node1 … nodeCOUNT, each of which answers to ssh.
hosts_start() {
    local i unshared
    ssh_configure
    { echo 127.0.0.1 localhost; for ((i = 1; i <= 9; i++)); do echo "10.77.0.$i node$i"; done; } >"$folder/etc-hosts"
    ip link add bridge type bridge 2>/dev/null || skip "this kernel has no bridges"
    ip link set bridge up
    for ((i = 1; i <= $1; i++)); do
        host_script "$i" >"$folder/host.$i"
        unshare --net --uts --mount --ipc --pid --fork --kill-child bash "$folder/host.$i" </dev/null >/dev/null 2>&1 &
        unshared=$!
        until host_pid[node$i]=$(cat "/proc/$unshared/task/$unshared/children" 2>/dev/null) &&
            host_pid[node$i]=${host_pid[node$i]% } && [[ -n ${host_pid[node$i]} ]] &&
            [[ $(nsenter -t "${host_pid[node$i]}" -u hostname 2>/dev/null) == "node$i" ]]; do sleep 0.02; done
        ip link add "port$i" type veth peer name eth0 netns "${host_pid[node$i]}"
        ip link set "port$i" master bridge up
        nsenter -t "${host_pid[node$i]}" -n sh -c "ip link set eth0 up; ip address add 10.77.0.$i/24 dev eth0"
    done
    for ((i = 1; i <= $1; i++)); do
        until on node1 bash -c ": </dev/tcp/10.77.0.$i/22" 2>/dev/null; do sleep 0.05; done
    done
}

# host_delay INDEX MICROSECONDS: a wire with this delay between the host and the bridge; 1 when the kernel has no TAP devices.
host_delay() {
    "$MUSTER_BIN/../tests/delay_line" "$2" "near$1" "far$1" >"$folder/delay.$1" 2>&1 &
    local line=$!
    until grep -q ready "$folder/delay.$1" 2>/dev/null; do
        kill -0 "$line" 2>/dev/null || return 1
        sleep 0.02
    done
    ip link add "segment$1" type bridge
    ip link set "segment$1" up
    ip link set "port$1" master "segment$1"
    ip link set "near$1" master "segment$1" up
    ip link set "far$1" master bridge up
}

# on HOST WORD…: runs a command there.
on() {
    local host=$1
    shift
    nsenter -t "${host_pid[$host]}" -n -u -m -i -p --wd="$PWD" -- "$@"
}

# hostfile NAME LINE…
hostfile() {
    local name=$1
    shift
    printf '%s\n' "$@" >"$folder/$name"
}

# muster_on_node1 VERB WORD…: to its end; $status and $folder/out.
muster_on_node1() {
    status=0
    on node1 "$MUSTER_BIN/muster" "$@" >"$folder/out" 2>&1 </dev/null || status=$?
}

# The hash that the last command printed.
said_hash() { sed -nE 's/^ *state hash +([0-9a-f]{32})$/\1/p' "$folder/out" | tail -n 1; }
