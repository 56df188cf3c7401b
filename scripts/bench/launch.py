# SPDX-License-Identifier: MIT
"""Starts one training run and watches it from outside, in the same way whichever program it is.

Peak memory is VmHWM of every rank, which the kernel keeps, so polling misses none of it but what the last tenth of a
second adds. The time to the first step runs from before the launch until the run's metrics file has its first line.
CPU time over wall time of the measured steps tells whether the machine was quiet: a rank that computes all the time
reaches 1.
"""

import json
import math
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class RunFailed(Exception):
    pass


@dataclass
class Watched:
    steps: list  # lines of the metrics file that describe a step
    first_step_s: float
    memory_bytes: int  # VmHWM, summed over ranks
    cpu_share: float


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in _read(task / "children").split():
            found += [int(child)] + _children(int(child))
    return found


def rank_pids(processes, rank_name):
    """The started processes themselves, or their descendants of the given name."""
    pids = [p.pid for p in processes]
    if rank_name is None:
        return pids
    below = [child for pid in pids for child in _children(pid)]
    return [pid for pid in below if _read(f"/proc/{pid}/comm").strip() == rank_name]


def _memory_peak(pid):
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0
    return total / TICKS


def read_steps(path):
    lines = [json.loads(line) for line in _read(path).splitlines() if line.endswith("}")]
    return [line for line in lines if "step_ms" in line]


def _gpu_memory():
    """What all processes have of the first GPU, in bytes; nothing where the driver does not say."""
    argv = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return int(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


class _Watch:
    def __init__(self, metrics, warmup, enough, gpu):
        self.metrics, self.warmup, self.enough = metrics, warmup, enough
        self.gpu_before = (_gpu_memory() or 0) if gpu else None
        self.gpu_asked = -math.inf
        self.started = time.monotonic()
        self.first_step_s = None
        self.peaks = {}
        self.marks = []  # (steps seen, time, CPU seconds) whenever the number of steps changed
        self.done = False

    def look(self, pids):
        for pid in pids if self.gpu_before is None else ():
            self.peaks[pid] = max(self.peaks.get(pid, 0), _memory_peak(pid))
        seen = len(read_steps(self.metrics))
        now = time.monotonic()
        if seen and self.first_step_s is None:
            self.first_step_s = now - self.started
        done = self.enough is not None and seen >= self.enough
        if seen and self.gpu_before is not None and (done or now - self.gpu_asked > 1):
            self._look_at_gpu(now)
        if seen > (self.marks[-1][0] if self.marks else self.warmup - 1):
            self.marks.append((seen, now, _cpu_seconds(pids)))
        self.done = done

    def _look_at_gpu(self, now):
        """Asking takes longer than the moment of the first step may be missed by; no program gives memory back later."""
        self.gpu_asked = now
        self.peaks["gpu"] = max(self.peaks.get("gpu", 0), (_gpu_memory() or 0) - self.gpu_before)

    def cpu_share(self, ranks):
        if len(self.marks) < 2:
            return 0.0
        (_, begin, cpu_begin), (_, end, cpu_end) = self.marks[0], self.marks[-1]
        return (cpu_end - cpu_begin) / (end - begin) / ranks


def _stop(processes):
    """Asks first: mpirun takes its ranks along only when it may end in order."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answer(argv):
    """The last line that a command prints."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=180)
    except subprocess.TimeoutExpired as late:
        raise RunFailed(f"{argv[1]}: no answer after {late.timeout:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RunFailed(f"{argv[1]} failed with exit code {done.returncode}")
    return lines[-1]


def _end(pids, processes):
    """What comes after the last step (a checkpoint of many gigabytes) is no part of what is measured."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


def _failed(argv, log):
    """Says why: whatever machine this is may be gone before anyone reads its files."""
    said = [line for line in _read(log).splitlines() if re.search("[A-Za-z]", line)]
    return RunFailed("\n    ".join([f"{argv[0]} failed and had said:", *(said[-15:] or ["nothing"])]))


def run(commands, metrics, warmup, ranks, log, rank_name=None, timeout_s=3600, gpu=False, enough=None):
    """Runs the commands, a list of (argv, environment), together until all have ended well, or with `enough` until so
    many steps are done. With `gpu`, memory is the first GPU's instead of the processes'."""
    argv = commands[0][0]
    with open(log, "wb") as out:
        watch = _Watch(metrics, warmup, enough, gpu)
        # In groups of their own: mpirun that is told to end by us and by who told us goes at once, without its ranks.
        processes = [
            subprocess.Popen(argv, env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT, preexec_fn=os.setpgrp)
            for argv, env in commands
        ]
        try:
            while any(p.poll() is None for p in processes):
                pids = rank_pids(processes, rank_name)
                watch.look(pids)
                if watch.done and pids:
                    _end(pids, processes)
                    break
                if any(p.poll() not in (None, 0) for p in processes):
                    break
                if time.monotonic() - watch.started > timeout_s:
                    raise RunFailed(f"{argv[0]}: not done after {timeout_s} s; see {log}")
                time.sleep(0.02 if watch.first_step_s is None else 0.1)
        finally:
            _stop(processes)
    steps = read_steps(metrics)
    if len(steps) < (enough or warmup + 1) or not watch.done and any(p.returncode for p in processes):
        raise _failed(argv, log)
    return Watched(steps, watch.first_step_s, sum(watch.peaks.values()), watch.cpu_share(ranks))
