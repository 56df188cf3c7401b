# SPDX-License-Identifier: MIT
"""Trains the same models with muster and with PyTorch in turn and prints what each run cost.

The programs alternate within a round and the order turns round from one round to the next, so that a machine that
warms up or is disturbed touches all of them. What is compared are ratios within a round. `report.py` makes the table.
"""

import argparse
import json
import math
import shutil
import signal
import sys
import tempfile
from functools import cache
from pathlib import Path

import cases
import launch
import report

VARIANTS = {
    "cpu": ("muster exact", "muster fast", "PyTorch", "PyTorch compiled"),
    "cuda": ("muster exact", "PyTorch", "PyTorch compiled", "PyTorch compiled, graphs"),
}
COMPILE_MODES = {"PyTorch compiled": "default", "PyTorch compiled, graphs": "reduce-overhead"}
LOSS_TOLERANCE = 0.3  # of the first loss around ln(vocabulary)


def parse_args():
    parser = argparse.ArgumentParser(prog="scripts/bench_cpu.sh (or bench_gpu.sh)", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds of the small model only")
    parser.add_argument("--rounds", type=int, help="rounds of every case; 3 unless told, 2 with --quick")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, help="2 on the CPU, 1 on a GPU unless told")
    parser.add_argument("--threads", type=int, default=1, help="of every rank")
    parser.add_argument("--only", default="", help="only cases whose name contains this, for example '124M bf16'")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out: muster's own figures only")
    parser.add_argument("--emulated", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--work", type=Path, help="folder for data and runs; a temporary one unless told")
    parser.add_argument("--worker", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.ranks = args.ranks or (2 if args.device == "cpu" else 1)
    return args


def check_first_loss(case, variant, steps):
    wanted, found = math.log(case.vocabulary), steps[0]["loss"]
    if not abs(found - wanted) < LOSS_TOLERANCE:
        raise launch.RunFailed(f"{case.name}, {variant}: the first loss is {found:.3f}, not about {wanted:.3f}")


def count_parameters(folder, steps):
    """As the program itself counts them: muster in its plan, PyTorch in its metrics."""
    plan = folder / "plan.json"
    told = json.loads(plan.read_text(encoding="utf-8")) if plan.exists() else steps[0]
    return told["parameters"]


def check_same_model(case, runs):
    counts = {variant: run.parameters for variant, kept in runs.items() for run in kept}
    if len(set(counts.values())) > 1:
        raise launch.RunFailed(f"{case.name}: the programs train models of different sizes: {counts}")


@cache
def fastest_attention(case, folder, data, threads):
    """PyTorch's fastest attention for this shape, measured by a process of its own that no run's time contains."""
    if case.device == "cpu":
        return "default"
    argv = cases.torch_argv(case, folder, data, sys.executable, threads, "measure")
    return launch.answer(argv)


def run_variant(args, case, variant, work):
    """One run, in a folder that is removed afterwards: a checkpoint of the large model takes 1.5 GB."""
    data = cases.write_data(case, work)
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    log = work / (variant.replace(" ", "-") + ".log")
    metrics = folder / "metrics.jsonl"
    gpu = case.device == "cuda" and not case.emulated
    if variant.startswith("muster"):
        reduce = variant.split()[1]
        commands = cases.muster_commands(case, folder, data, args.worker, reduce, args.ranks, args.threads)
        watched = launch.run(commands, metrics, case.warmup, args.ranks, log, args.worker.name, gpu=gpu)
    else:
        mode = COMPILE_MODES.get(variant)
        attention = fastest_attention(case, folder, data, args.threads)
        argv = cases.torch_argv(case, folder, data, sys.executable, args.threads, attention)
        commands = cases.torch_commands(argv, folder, mode, args.ranks, args.threads)
        watched = launch.run(commands, metrics, case.warmup, args.ranks, log, gpu=gpu)
    check_first_loss(case, variant, watched.steps)
    run = report.Run.from_watched(case, watched, count_parameters(folder, watched.steps))
    shutil.rmtree(folder)
    return run


def variants_of(args, case):
    for variant in VARIANTS[args.device]:
        mode = COMPILE_MODES.get(variant)
        unwanted = args.no_torch and variant.startswith("PyTorch") or args.no_compile and mode
        if not unwanted and (case.launch_bound or mode != "reduce-overhead"):
            yield variant


def run_case(args, case, rounds, work):
    """Runs by variant, one of each per round. torch.compile may fail (it wants a C++ compiler) without ending all."""
    variants = list(variants_of(args, case))
    runs = {variant: [] for variant in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            if variant not in runs:
                continue
            try:
                run = run_variant(args, case, variant, work)
            except launch.RunFailed as failure:
                if variant not in COMPILE_MODES:
                    raise
                print(f"left out: {failure}", file=sys.stderr)
                del runs[variant]
                continue
            runs[variant].append(run)
            check_same_model(case, runs)
            print(f"{case.name}, round {number + 1}/{rounds}, {variant}: {run}", file=sys.stderr, flush=True)
    return runs


def run_all(args, work):
    rounds = args.rounds or (2 if args.quick else 3)
    results, table = {}, ""
    for case in cases.make_emulated_cases() if args.emulated else cases.make_cases(args.device, args.quick):
        if args.only not in case.name:
            continue
        results[case] = run_case(args, case, rounds, work)
        table = report.write(results, args.ranks, args.threads, rounds)
        if args.output:  # after each case: who stops the rest keeps this one
            args.output.write_text(table + "\n", encoding="utf-8")
    return table


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit ends the run in hand too
    args = parse_args()
    temporary = None if args.work else tempfile.mkdtemp(prefix="muster-bench-")
    work = Path(args.work or temporary).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        table = run_all(args, work)
    except launch.RunFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        temporary = None  # the folder stays: the log in it says why
        return 1
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
