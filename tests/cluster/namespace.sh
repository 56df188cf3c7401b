# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# To be sourced first by a test that starts daemons: the test begins again in network, process, mount, host-name and
# IPC namespaces of its own. Every port is free there, every process ends with the test, whatever happens, and nothing
# of it is seen outside. Needs root (or a container's root), and says so when it is not there.
set -euo pipefail
skip_at_once() {
    echo "skipped: $*"
    exit 77
}

if [[ -z ${MUSTER_TEST_NAMESPACE:-} ]]; then
    [[ $(id -u) -eq 0 ]] || skip_at_once "needs root, for namespaces and daemons of its own"
    command -v ip >/dev/null || skip_at_once "ip (package iproute2) is not installed"
    unshare --net --pid --mount --uts --ipc --fork --mount-proc true 2>/dev/null ||
        skip_at_once "this kernel or container does not let root make namespaces"
    MUSTER_TEST_NAMESPACE=1 exec unshare --net --pid --mount --uts --ipc --fork --kill-child --mount-proc \
        "$BASH" "$0" "$@"
fi
ip link set lo up
mount -t tmpfs tmpfs /dev/shm 2>/dev/null || true
