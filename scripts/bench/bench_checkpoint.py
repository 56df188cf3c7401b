# SPDX-License-Identifier: MIT
"""What saving costs a run of GPT-2 124M: the stall, the slow-down while the state is written, and the rates.

Runs without and with saves alternate, so that both see the same machine. The stall is what training itself counted
(checkpoint_stall_ms in metrics.jsonl); steps in which a save was in flight are compared with the same steps of the run
without. Rates come from one save and one load that nothing else runs beside, against dd in the same folder. PyTorch's
numbers are the time that torch.save and dcp.async_save keep the caller, for the same model with AdamW's state.
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
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    return parser.parse_args()


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
    for _ in range(args.rounds):
        plain, _ = worker_run(args, folder / "plain", data, last, "{resume: never}")
        saving, _ = worker_run(args, folder / "saving", data, last,
                               f"{{resume: never, save_interval: {args.interval}, keep_last: 2}}")
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
            flushing = range(step + 1, min(last, step + 1 + int(save["checkpoint_ms"] // typical)) + 1)
            slow += [saving[s] / plain[s] for s in flushing if s in saving]
        counted = [s for s in plain if s > args.interval]
        whole.append(sum(saving[s] for s in counted) / sum(plain[s] for s in counted))
    return {
        "step without saves, ms": statistics.mean(step_ms),
        "save from start to commit, ms": statistics.mean(durations),
        "stall of a save, ms": statistics.mean(stalls),
        "stall as a share of a step": statistics.mean(stalls) / statistics.mean(step_ms),
        "steps while a save is written, ratio": statistics.mean(slow) if slow else float("nan"),
        "all steps with saves, ratio": statistics.mean(whole),
    }


def dd_rate(arguments, total_bytes):
    started = time.perf_counter()
    subprocess.run(["dd", *arguments], check=True, stderr=subprocess.DEVNULL)
    return total_bytes / (time.perf_counter() - started)


def cache_drop(folder):
    for path in folder.rglob("*.safetensors"):
        subprocess.run(["dd", f"of={path}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0"], check=True,
                       stderr=subprocess.DEVNULL)


def measure_rates(args, folder, data):
    found = {}
    run = folder / "rates"
    for direct in ("false", "true"):
        checkpoint = f"{{resume: never, async: false, direct_io: {direct}}}"
        lines, _ = worker_run(args, run, data, 1, checkpoint)
        size = sum(p.stat().st_size for p in run.rglob("*.safetensors"))
        rate = size / (1e-3 * saves_of(lines)[1]["checkpoint_ms"])
        scratch = folder / "scratch"
        count = size // BLOCK
        dd = dd_rate(["if=/dev/zero", f"of={scratch}", f"bs={BLOCK}", f"count={count}", "oflag=direct",
                      "conv=fsync"], count * BLOCK)
        found[f"write, direct_io {direct}, MB/s"] = rate / 1e6
        found[f"dd oflag=direct beside it, MB/s ({direct})"] = dd / 1e6
        found[f"write against dd ({direct})"] = rate / dd
    cache_drop(run)
    read = dd_rate([f"if={scratch}", "of=/dev/null", f"bs={BLOCK}", "iflag=direct"], count * BLOCK)
    _, log = worker_run(args, run, data, 1, "{resume: auto}", keep=True)
    seconds = [float(s) for s in re.findall(r"checkpoint of step 1 loaded in ([0-9.]+) s", log)][-1]
    scratch.unlink()
    shutil.rmtree(run)
    found["checkpoint, MB"] = size / 1e6
    found["load with verification, MB/s"] = size / seconds / 1e6
    found["dd iflag=direct, MB/s"] = read / 1e6
    found["load against dd"] = size / seconds / read
    return found


def main():
    args = parse_args()
    folder = Path(tempfile.mkdtemp(prefix="muster-bench-", dir=args.folder))
    try:
        case = Case("GPT-2 124M", args.precision, args.layers, args.width, args.width // 64, 50304, 256,
                    args.micro_batch, args.steps, 0)
        data = write_data(case, folder)
        found = measure_training(args, folder, data) | measure_rates(args, folder, data)
        if args.python:
            out = subprocess.run([args.python, str(Path(__file__).parent / "bench_checkpoint_torch.py"),
                                  "--folder", str(folder), "--layers", str(args.layers), "--width", str(args.width),
                                  "--threads", str(args.threads)], check=True, stdout=subprocess.PIPE, text=True)
            found |= json.loads(out.stdout.splitlines()[-1])
            found["torch.save stall against muster's"] = found["torch.save, ms"] / found["stall of a save, ms"]
            found["dcp.async_save stall against muster's"] = (
                found["dcp.async_save, ms"] / found["stall of a save, ms"])
        print("| | |\n| --- | --- |")
        for name, value in found.items():
            print(f"| {name} | {value:.4g} |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
