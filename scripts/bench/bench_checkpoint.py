# SPDX-License-Identifier: MIT
"""What saving costs a run of GPT-2 124M: the stall, the slow-down while the state is written, and the rates.

Runs without and with saves alternate, so that both see the same machine. The stall is what training itself counted
(checkpoint_stall_ms in metrics.jsonl); steps in which a save was in flight are compared with the same steps of the run
without. Rates come from one save and one load that nothing else runs beside, against dd in the same folder. PyTorch's
numbers are the time that torch.save and dcp.async_save keep the caller, for the same model with AdamW's state.

The long form (--rounds 3) takes about a quarter of an hour on two cores; --quick shows in one or two minutes that
everything works, with a model whose figures say nothing.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import Case, write_data

BLOCK = 8 << 20


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--folder", default=None, help="where checkpoints are written; a disk, not memory")
    parser.add_argument("--python", default=None, help="a Python with torch; left out: no comparison")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=31)
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--buffered", action="store_true", help="train with checkpoint.direct_io: false")
    parser.add_argument("--rates-only", action="store_true", help="no training, no PyTorch: the rates of saves and loads")
    parser.add_argument("--quick", action="store_true", help="a small model and a few steps")
    args = parser.parse_args()
    if args.quick:
        args.layers, args.width, args.steps, args.interval = 2, 128, 9, 4
    return args


def job_text(args, folder, data, steps, checkpoint):
    return f"""name: bench
output_dir: {folder}
device: cpu
model: {{type: gpt, num_layers: {args.layers}, hidden_size: {args.width}, num_heads: {args.width // 64}, vocab_size: 50304}}
data: {{train: {data}, format: u16, seq_len: 256}}
train: {{micro_batch_size: {args.micro_batch}, global_batch_size: {args.micro_batch}, max_steps: {steps},
  precision: {args.precision}}}
optimizer: {{type: adamw, lr: 1e-4, weight_decay: 0.1}}
scheduler: {{type: constant}}
parallel: {{threads: {args.threads}, logical_workers: 1}}
checkpoint: {checkpoint}
"""


def worker_run(args, folder, data, steps, checkpoint, keep=False):
    """Lines of metrics.jsonl, and what the rank logged."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    job = folder.parent / (folder.name + ".yaml")
    job.write_text(job_text(args, folder, data, steps, checkpoint), encoding="utf-8")
    environment = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    subprocess.run([args.worker, str(job)], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return lines, (folder / "logs" / "rank-0000.log").read_text()


def steps_of(lines):
    return {line["step"]: line["step_ms"] for line in lines if "step_ms" in line}


def saves_of(lines):
    return {line["step"]: line for line in lines if "checkpoint_ms" in line}


def measure_training(args, folder, data):
    stalls, durations, slow, whole, step_ms = [], [], [], [], []
    last = args.steps
    options = f"save_interval: {args.interval}, keep_last: 2, direct_io: {str(not args.buffered).lower()}"
    for _ in range(args.rounds):
        plain, _ = worker_run(args, folder / "plain", data, last, "{resume: never, save_interval: 0}")
        saving, _ = worker_run(args, folder / "saving", data, last, f"{{resume: never, {options}}}")
        shutil.rmtree(folder / "plain" / "checkpoints")
        shutil.rmtree(folder / "saving" / "checkpoints")
        plain, saves, saving = steps_of(plain), saves_of(saving), steps_of(saving)
        typical = statistics.mean(plain[s] for s in plain if s > args.interval)
        step_ms.append(typical)
        for step, save in saves.items():
            if step == last:
                continue
            stalls.append(save["checkpoint_stall_ms"])
            durations.append(save["checkpoint_ms"])
            left, flushing = save["checkpoint_ms"], []
            while left > 0 and step + 1 + len(flushing) <= last:
                flushing.append(step + 1 + len(flushing))
                left -= saving[flushing[-1]]
            slow.append(sum(saving[s] for s in flushing) / sum(plain[s] for s in flushing))
        counted = [s for s in plain if s > args.interval]
        whole.append(sum(saving[s] for s in counted) / sum(plain[s] for s in counted))
    return {
        "step without saves, ms": (statistics.mean(step_ms), ""),
        "save from start to commit, ms": (statistics.mean(durations), ""),
        "stall of a save, ms": (statistics.median(stalls), ""),
        "longest stall of a save, ms": (max(stalls), ""),
        "stall of a save as a share of a step": (statistics.median(stalls) / statistics.mean(step_ms), "at most 0.01"),
        "steps while a save is written against the same without": (statistics.mean(slow), "at most 1.03"),
        "all steps, a save every so many, against those without": (statistics.mean(whole), ""),
    }


def dd_rate(arguments, total_bytes):
    started = time.perf_counter()
    subprocess.run(["dd", *arguments], check=True, stderr=subprocess.DEVNULL)
    return total_bytes / (time.perf_counter() - started)


def shards_of(folder):
    return sorted(folder.rglob("*.safetensors"))


def cache_drop(folder):
    for path in shards_of(folder):
        subprocess.run(["dd", f"of={path}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0"], check=True,
                       stderr=subprocess.DEVNULL)


def measure_write(args, folder, data, direct):
    """Rates of a save that training waits for, and of dd in the same folder right after it. dd takes its bytes from
    memory, and they are random: some hosts of virtual machines write zeros at twice the rate."""
    run, scratch = folder / "rates", folder / "scratch"
    lines, _ = worker_run(args, run, data, 1, f"{{resume: never, async: false, direct_io: {direct}}}")
    size = sum(path.stat().st_size for path in shards_of(run))
    count = size // BLOCK
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="muster-bench-") as noise:
        for _ in range(count):
            noise.write(os.urandom(BLOCK))
        noise.flush()
        dd = dd_rate([f"if={noise.name}", f"of={scratch}", f"bs={BLOCK}", "oflag=direct", "conv=fsync"], count * BLOCK)
    scratch.unlink()
    return size / (1e-3 * saves_of(lines)[1]["checkpoint_ms"]), dd, size


def memory_back(size):
    """Has a process touch that much memory and end: a virtual machine's host takes back what lies free for some
    seconds, and to get it again can take longer than to read it from the disk."""
    subprocess.run([sys.executable, "-c", "import mmap, sys; mmap.mmap(-1, int(sys.argv[1]), "
                    "flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)", str(size)], check=True)


def measure_load(args, folder, data, backed):
    """Rates of a load of what measure_write left, from the disk, and of dd reading the same files."""
    run = folder / "rates"
    size = sum(path.stat().st_size for path in shards_of(run))
    dd = size / sum(path.stat().st_size / dd_rate([f"if={path}", "of=/dev/null", f"bs={BLOCK}", "iflag=direct"],
                                                  path.stat().st_size) for path in shards_of(run))
    cache_drop(run)
    if backed:
        memory_back(4 * size)
    _, log = worker_run(args, run, data, 1, "{resume: auto}", keep=True)
    seconds = [float(s) for s in re.findall(r"checkpoint of step 1 loaded in ([0-9.]+) s", log)][-1]
    return size / seconds, dd


def measure_rates(args, folder, data):
    found = {}

    def tell(name, pairs, goal):
        ours, dd = (statistics.median(rates) / 1e6 for rates in zip(*pairs))
        found[f"{name}, MB/s"] = (ours, "")
        found[f"dd beside it, MB/s ({name})"] = (dd, "")
        found[f"{name} against dd"] = (statistics.median(a / b for a, b in pairs), goal)

    writes, loads = {"false": [], "true": []}, {False: [], True: []}
    for _ in range(args.rounds):
        for direct, pairs in writes.items():
            ours, dd, size = measure_write(args, folder, data, direct)
            pairs.append((ours, dd))
        for backed, pairs in loads.items():
            pairs.append(measure_load(args, folder, data, backed))
    shutil.rmtree(folder / "rates")
    found["checkpoint, MB"] = (size / 1e6, "")
    tell("write", writes["false"], "at least 0.8")
    tell("write with direct_io", writes["true"], "at least 0.8")
    tell("load with verification", loads[False], "at least 0.8")
    tell("the same into memory that was in use a moment before", loads[True], "at least 0.8")
    return found


def measure_torch(args, folder, stall_ms):
    out = subprocess.run([args.python, str(Path(__file__).parent / "bench_checkpoint_torch.py"), "--folder", str(folder),
                          "--layers", str(args.layers), "--width", str(args.width), "--threads", str(args.threads)],
                         check=True, stdout=subprocess.PIPE, text=True)
    found = {name: (value, "") for name, value in json.loads(out.stdout.splitlines()[-1]).items()}
    for name, goal in (("torch.save", 50), ("dcp.async_save", 10)):
        found[f"{name}'s stall against muster's"] = (found[f"{name}, ms"][0] / stall_ms, f"at least {goal}")
    return found


def main():
    args = parse_args()
    folder = Path(tempfile.mkdtemp(prefix="muster-bench-", dir=args.folder))
    try:
        case = Case("GPT-2 124M", args.precision, args.layers, args.width, args.width // 64, 50304, 256,
                    args.micro_batch, args.steps, 0)
        data = write_data(case, folder)
        found = {} if args.rates_only else measure_training(args, folder, data)
        found |= measure_rates(args, folder, data)
        if args.python and not args.rates_only:
            found |= measure_torch(args, folder, found["stall of a save, ms"][0])
        print("| | measured | goal |\n| --- | --- | --- |")
        for name, (value, goal) in found.items():
            print(f"| {name} | {value:.4g} | {goal} |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
