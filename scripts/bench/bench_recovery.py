# SPDX-License-Identifier: MIT
"""Time from the death of a rank (SIGKILL) to the next finished step: `muster run` beside torchrun with a DCP reload.

The same GPT, two ranks of one thread, a checkpoint every ten steps, which training waits for, the death five steps after
one. Rank 1 kills itself with SIGKILL at the beginning of a step; both start the ranks again by themselves, at once, from
the last checkpoint on disk, and rank 0 notes when it has finished the first step from there. The programs take turns.
Prints a Markdown table, and for muster where the time went.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from cases import write_data

HERE = Path(__file__).resolve().parent
RANKS, SAVE, AFTER = 2, 10, 15
LIMIT_S = 900  # of one run

JOB = """name: recovery
output_dir: {folder}/run
device: cpu
model: {{type: gpt, num_layers: {layers}, hidden_size: {width}, num_heads: {heads}, vocab_size: 256}}
data: {{train: {data}, format: bytes, seq_len: {length}}}
train: {{micro_batch_size: {micro_batch}, global_batch_size: {batch}, max_steps: {steps}}}
optimizer: {{type: adamw, lr: 1e-4, beta1: 0.9, beta2: 0.95, weight_decay: 0.1}}
scheduler: {{type: constant}}
parallel: {{threads: 1, logical_workers: {ranks}}}
checkpoint: {{save_interval: {save}, async: false}}
logging: {{interval: 1000000}}
supervisor: {{max_restarts: 1000, give_up_after: 1000}}
"""


class Shape:
    vocabulary = 256
    token_bytes = 1

    def __init__(self, layers, width, heads, length, micro_batch):
        self.layers, self.width, self.heads, self.length, self.micro_batch = layers, width, heads, length, micro_batch


def next_after(moments, moment):
    """The first of them that is later: what the next start of the ranks noted."""
    return min(m for m in moments if m > moment)


def unix_time(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def launcher_run(argv, environment, log):
    """To its end, which must be a good one. Both launchers end their ranks when they get SIGTERM."""
    with open(log, "w", encoding="utf-8") as out, subprocess.Popen(argv, env=environment, stdout=out, stderr=out) as launcher:
        try:
            code = launcher.wait(LIMIT_S)
        except BaseException:
            launcher.terminate()
            raise
    if code != 0:
        sys.exit(f"{argv[0]} ended with {code}\n" + log.read_text(encoding="utf-8")[-4000:])


def muster_run(shape, folder, data, binaries, deaths):
    """Of each death: seconds until it was told, the first step began, and it was finished."""
    steps = SAVE * (deaths + 1) + AFTER
    job = folder / "job.yaml"
    values = dict(vars(shape), folder=folder, data=data, batch=shape.micro_batch * RANKS, steps=steps, ranks=RANKS, save=SAVE)
    job.write_text(JOB.format(**values), encoding="utf-8")
    environment = dict(os.environ, MUSTER_FAULT=",".join([f"step:1:{AFTER + 1}:kill"] * deaths))
    environment["MUSTER_FAULT_ONCE"] = str(folder / "fired")
    launcher_run([binaries / "muster", "run", job, "-n", str(RANKS)], environment, folder / "log")

    def logged(rank, words):
        lines = (folder / "run" / "logs" / f"rank-{rank:04d}.log").read_text(encoding="utf-8").splitlines()
        return [unix_time(line.split()[0]) for line in lines if words in line]

    events = [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [unix_time(event["time"]) for event in events if event["kind"] == "restart"]
    begun, done = logged(0, "first step begins"), logged(0, "first step done")
    killed = logged(1, "fault point")
    if len(killed) != deaths:
        sys.exit(f"{len(killed)} deaths instead of {deaths}")
    return [[next_after(moments, death) - death for moments in (told, begun, done)] for death in killed]


def torch_run(shape, folder, data, python, deaths):
    """Of each death: seconds until the first step of the next start was finished."""
    steps = SAVE * (deaths + 1) + AFTER
    argv = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS), "--max-restarts", str(deaths)]
    argv += [str(HERE / "recovery_torch.py"), "--folder", str(folder), "--data", str(data), "--steps", str(steps)]
    argv += ["--save", str(SAVE), "--deaths", str(deaths), "--after", str(AFTER), "--vocabulary", "256"]
    for name in ("layers", "width", "heads", "length", "micro_batch"):
        argv += ["--" + name.replace("_", "-"), str(getattr(shape, name))]
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", PYTHONDONTWRITEBYTECODE="1")
    launcher_run(argv, environment, folder / "log")

    def lines(name):
        return [line.split() for line in (folder / name).read_text(encoding="ascii").splitlines()]

    firsts = {}  # rank 0 may finish the step in which rank 1 died: only the first step of each start counts
    for when, start in lines("steps"):
        firsts.setdefault(start, float(when))
    killed = [float(line[0]) for line in lines("deaths")]
    if len(killed) != deaths:
        sys.exit(f"{len(killed)} deaths instead of {deaths}")
    return [[next_after(firsts.values(), death) - death] for death in killed]


def measured(shape, data, root, args):
    """The programs in turn, as often as asked for."""
    found = {"muster": [], "torch": []}
    for turn in range(args.rounds):
        for which in found:
            folder = root / f"{which}{turn}"
            folder.mkdir()
            if which == "muster":
                found[which] += muster_run(shape, folder, data, args.binaries, args.deaths)
            else:
                found[which] += torch_run(shape, folder, data, sys.executable, args.deaths)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--deaths", type=int, default=10, help="of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the smaller model only")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # not before the ranks are
    import torch

    shapes = {"GPT 0.2M": Shape(4, 64, 4, 64, 2), "GPT 10M": Shape(6, 384, 6, 64, 2)}
    if args.small:
        del shapes["GPT 10M"]
    parts = []
    print("| model | muster: median (range) | torchrun + DCP: median (range) | ratio |\n| --- | --- | --- | --- |")
    for name, shape in shapes.items():
        with tempfile.TemporaryDirectory(prefix="muster-recovery.") as root:
            found = measured(shape, write_data(shape, Path(root)), Path(root), args)
        whole = {which: [delay[-1] for delay in delays] for which, delays in found.items()}
        medians = {which: statistics.median(values) for which, values in whole.items()}
        cells = [f"{medians[w]:.2f} s ({min(whole[w]):.2f} to {max(whole[w]):.2f})" for w in ("muster", "torch")]
        print(f"| {name} | {cells[0]} | {cells[1]} | {medians['torch'] / medians['muster']:.1f} |", flush=True)
        cut = [statistics.median(values) for values in zip(*((a, b - a, c - b) for a, b, c in found["muster"]))]
        parts.append(f"{name}: the death told, ranks ended {cut[0]:.2f} s; started and loaded {cut[1]:.2f} s; first step {cut[2]:.2f} s")
    print("\nmuster's medians.", *parts, sep="\n* ")
    print(f"\nPyTorch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {args.deaths * args.rounds} deaths each")


if __name__ == "__main__":
    main()
