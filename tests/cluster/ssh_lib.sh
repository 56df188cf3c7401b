# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Hosts that answer to ssh. node1 is where muster runs.
# shellcheck source=hosts_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/hosts_lib.sh"
for program in ssh sshd ssh-keygen; do
    command -v "$program" >/dev/null || skip "$program is not installed (packages openssh-client, openssh-server)"
done

ssh_folder=$folder/ssh
export OMPI_MCA_plm_rsh_agent="ssh -F $ssh_folder/config" PRTE_MCA_plm_ssh_agent="ssh -F $ssh_folder/config"

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

host_service() {
    echo "mkdir /run/sshd; /usr/sbin/sshd -f '$ssh_folder/sshd_config' -E '$folder/sshd.$1.log'"
}

# hosts_start COUNT: node1 … nodeCOUNT, each of which answers.
hosts_start() {
    local i
    ssh_configure
    hosts_make "$1"
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
