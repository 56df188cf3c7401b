# SPDX-License-Identifier: MIT
"""Two network namespaces with one link between them, whose rate is limited in both directions.

The names carry this process's id, and everything is removed at the end, whatever happens. Programs in the two
namespaces share files and process ids. mpirun lives in the first; it reaches the second through a script in the place
of ssh, which gives that side a host name of its own, so that MPI takes the two for two hosts.
"""

import os
import subprocess
from pathlib import Path

SUBNET = "10.79.0"


class Link:
    def __init__(self):
        self.names = [f"muster-{os.getpid()}-{side}" for side in "ab"]
        self.device = "eth0"

    def __enter__(self):
        try:
            for name in self.names:
                _ip("netns", "add", name)
            first, second = self.names
            _ip("link", "add", self.device, "netns", first, "type", "veth", "peer", "name", self.device,
                "netns", second)
            for number, name in enumerate(self.names):
                _ip("-n", name, "addr", "add", f"{SUBNET}.{number + 1}/24", "dev", self.device)
                _ip("-n", name, "link", "set", self.device, "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def limit(self, rate_mbit):
        """A bucket of about 4 ms: the rate holds over any piece of a step."""
        burst = max(64, rate_mbit // 2)
        for name in self.names:
            subprocess.run(
                ["tc", "-n", name, "qdisc", "replace", "dev", self.device, "root", "tbf", "rate",
                 f"{rate_mbit}mbit", "burst", f"{burst}kb", "latency", "50ms"], check=True)

    def inside(self, rank):
        """Words that run a program where rank `rank` lives."""
        return ["ip", "netns", "exec", self.names[rank]]

    def address(self, rank):
        return f"{SUBNET}.{rank + 1}"

    def write_agent(self, path):
        """What mpirun calls as `agent HOST COMMAND`."""
        inside = " ".join(self.inside(1))
        text = f'#!/bin/sh\nshift\nexec {inside} unshare --uts sh -c "hostname {self.names[1]}; $*"\n'
        Path(path).write_text(text, encoding="ascii")
        Path(path).chmod(0o700)

    def bytes_sent(self):
        """By both sides, headers included, since the link was made."""
        total = 0
        for rank in range(2):
            path = f"/sys/class/net/{self.device}/statistics/tx_bytes"
            total += int(subprocess.run(self.inside(rank) + ["cat", path], check=True, stdout=subprocess.PIPE).stdout)
        return total


def _ip(*words):
    subprocess.run(["ip", *words], check=True)
