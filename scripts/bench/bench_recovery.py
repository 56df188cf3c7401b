# SPDX-License-Identifier: MIT
"""Time from the death of a rank (SIGKILL) to the next finished step: `muster run` beside torchrun with a DCP reload.

The same GPT, two ranks of one thread, a checkpoint every ten steps, the death five steps after one. Both start the ranks
again by themselves. The programs take turns. Prints a Markdown table.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from cases import write_data

HERE = Path(__file__).resolve().parent
RANKS, SAVE, AFTER = 2, 10, 15

JOB = """name: recovery
output_dir: {folder}/run
device: cpu
model: {{type: gpt, num_layers: {layers}, hidden_size: {width}, num_heads: {heads}, vocab_size: 256}}
data: {{train: {data}, format: bytes, seq_len: {length}}}
train: {{micro_batch_size: {micro_batch}, global_batch_size: {batch}, max_steps: {steps}}}
optimizer: {{type: adamw, lr: 1e-4, beta1: 0.9, beta2: 0.95, weight_decay: 0.1}}
scheduler: {{type: constant}}
parallel: {{threads: 1, logical_workers: {ranks}}}
checkpoint: {{save_interval: {save}}}
logging: {{interval: 1000000}}
supervisor: {{max_restarts: 1000, give_up_after: 1000}}
"""


class Shape:
    vocabulary = 256
    token_bytes = 1

    def __init__(self, layers, width, heads, length, micro_batch):
        self.layers, self.width, self.heads, self.length, self.micro_batch = layers, width, heads, length, micro_batch


def delays(deaths, steps):
    """Of each death: the time to the first step of the next start."""
    return [min(s for s in steps if s > death) - death for death in deaths]


def muster_run(shape, folder, data, binaries, deaths):
    steps = SAVE * (deaths + 1) + AFTER
    job = folder / "job.yaml"
    values = dict(vars(shape), folder=folder, data=data, batch=shape.micro_batch * RANKS, steps=steps, ranks=RANKS, save=SAVE)
    job.write_text(JOB.format(**values), encoding="utf-8")
    environment = dict(os.environ, MUSTER_FAULT=",".join([f"step:1:{AFTER + 1}:kill"] * deaths))
    environment["MUSTER_FAULT_ONCE"] = str(folder / "fired")
    subprocess.run([binaries / "muster", "run", job, "-n", str(RANKS)], check=True, env=environment, stdout=subprocess.DEVNULL)

    def times(rank, words):
        lines = (folder / "run" / "logs" / f"rank-{rank:04d}.log").read_text(encoding="utf-8").splitlines()
        return [datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp() for line in lines if words in line]

    return delays(times(1, "fault point"), times(0, "first step done"))


def torch_run(shape, folder, data, python, deaths):
    steps = SAVE * (deaths + 1) + AFTER
    argv = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS), "--max-restarts", "1000"]
    argv += [str(HERE / "recovery_torch.py"), "--folder", str(folder), "--data", str(data), "--steps", str(steps)]
    argv += ["--save", str(SAVE), "--deaths", str(deaths), "--after", str(AFTER), "--vocabulary", "256"]
    for name in ("layers", "width", "heads", "length", "micro_batch"):
        argv += ["--" + name.replace("_", "-"), str(getattr(shape, name))]
    environment = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", PYTHONDONTWRITEBYTECODE="1")
    log = folder / "log"
    with open(log, "w", encoding="utf-8") as out:
        if subprocess.run(argv, env=environment, stdout=out, stderr=out, check=False).returncode != 0:
            sys.exit(log.read_text(encoding="utf-8")[-4000:])

    def lines(name):
        return [line.split() for line in (folder / name).read_text(encoding="ascii").splitlines()]

    firsts = {}  # rank 0 may finish the step in which rank 1 died: only the first step of each start counts
    for when, start in lines("steps"):
        firsts.setdefault(start, float(when))
    return delays([float(line[0]) for line in lines("deaths")], list(firsts.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--deaths", type=int, default=5, help="of one run")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    import torch

    shapes = {"GPT 0.2M": Shape(4, 64, 4, 64, 2), "GPT 10M": Shape(6, 384, 6, 64, 2)}
    print("| model | muster: median (range) | torchrun + DCP: median (range) | ratio |\n| --- | --- | --- | --- |")
    for name, shape in shapes.items():
        found = {"muster": [], "torch": []}
        with tempfile.TemporaryDirectory(prefix="muster-recovery.") as root:
            data = write_data(shape, Path(root))
            for turn in range(args.rounds):
                for which in found:
                    folder = Path(root) / f"{which}{turn}"
                    folder.mkdir()
                    if which == "muster":
                        found[which] += muster_run(shape, folder, data, args.binaries, args.deaths)
                    else:
                        found[which] += torch_run(shape, folder, data, sys.executable, args.deaths)
        medians = {which: statistics.median(values) for which, values in found.items()}
        cells = [f"{medians[w]:.2f} s ({min(found[w]):.2f} to {max(found[w]):.2f})" for w in ("muster", "torch")]
        print(f"| {name} | {cells[0]} | {cells[1]} | {medians['torch'] / medians['muster']:.1f} |", flush=True)
    print(f"\nPyTorch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, {args.deaths * args.rounds} deaths each", json.dumps({"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
