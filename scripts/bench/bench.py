# SPDX-License-Identifier: MIT
"""Trains the same models with muster and with PyTorch in turn and prints what each run cost.

The programs alternate within a round and the order turns round from one round to the next, so that a machine that
warms up or is disturbed touches all of them. What is compared are ratios within a round. `report.py` makes the table.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import cases
import launch
import report

VARIANTS = {
    "cpu": ("muster exact", "muster fast", "PyTorch", "PyTorch compiled"),
    "cuda": ("muster exact", "PyTorch", "PyTorch compiled", "PyTorch compiled, graphs"),
}
COMPILE_MODES = {"PyTorch compiled": "default", "PyTorch compiled, graphs": "reduce-overhead"}
RUN_SECONDS_MAX = {"cpu": 3600, "cuda": 240}  # a machine with a GPU is lent for minutes, and other programs wait for them
LOSS_TOLERANCE = 0.3


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
    wanted, found = case.first_loss, steps[0]["loss"]
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


def measure(args, case, work):
    """How fast PyTorch's attentions are with this shape, by a process of its own that no run's time contains."""
    if args.no_torch or case.device == "cpu" or case.emulated:
        return {"attention": "default"}
    argv = cases.torch_argv(case, work, cases.write_data(case, work), sys.executable, args.threads, "measure")
    try:
        found = launch.answer(argv)
    except launch.RunFailed as failure:
        print(f"PyTorch chooses its attention itself: {failure}", file=sys.stderr, flush=True)
        return {"attention": "default"}
    print(f"{case.name}, PyTorch on this GPU: {found}", file=sys.stderr, flush=True)
    return json.loads(found)


def run_variant(args, case, variant, work, attention):
    """One run, in a folder that is removed afterwards: a checkpoint of the large model takes 1.5 GB."""
    data = cases.write_data(case, work)
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    log = work / (variant.replace(" ", "-") + ".log")
    metrics = folder / "metrics.jsonl"
    how = {"gpu": case.device == "cuda" and not case.emulated, "timeout_s": RUN_SECONDS_MAX[case.device]}
    how["enough"] = case.steps if case.device == "cuda" else None
    if variant.startswith("muster"):
        reduce = variant.split()[1]
        commands = cases.muster_commands(case, folder, data, args.worker, reduce, args.ranks, args.threads)
        watched = launch.run(commands, metrics, case.warmup, args.ranks, log, args.worker.name, **how)
    else:
        mode = "blocks" if case.deep and variant in COMPILE_MODES else COMPILE_MODES.get(variant)
        argv = cases.torch_argv(case, folder, data, sys.executable, args.threads, attention)
        commands = cases.torch_commands(argv, folder, mode, args.ranks, args.threads)
        watched = launch.run(commands, metrics, case.warmup, args.ranks, log, **how)
    check_first_loss(case, variant, watched.steps)
    run = report.Run.from_watched(case, watched, count_parameters(folder, watched.steps))
    shutil.rmtree(folder)
    return run


def run_somehow(args, case, variant, work, attention):
    """What does not compile with the fastest attention gets the one that PyTorch chooses by itself."""
    try:
        return run_variant(args, case, variant, work, attention)
    except launch.RunFailed as failure:
        if variant not in COMPILE_MODES or attention == "default":
            raise
        print(f"{case.name}, {variant}, not with {attention} attention: {failure}", file=sys.stderr, flush=True)
        return run_variant(args, case, variant, work, "default")


def variants_of(args, case):
    for variant in VARIANTS[args.device]:
        mode = COMPILE_MODES.get(variant)
        unwanted = args.no_torch and variant.startswith("PyTorch") or args.no_compile and mode
        if not unwanted and (case.launch_bound or mode != "reduce-overhead"):
            yield variant


def run_case(args, case, rounds, work, attention, left_out):
    """Runs by variant, one of each per round; yields them after each run. A program that fails is left out."""
    variants = list(variants_of(args, case))
    runs = {variant: [] for variant in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            if variant not in runs:
                continue
            try:
                runs[variant].append(run_somehow(args, case, variant, work, attention))
                check_same_model(case, runs)
            except launch.RunFailed as failure:
                left_out.append((case, variant, failure))
                print(f"left out: {case.name}, {variant}: {failure}", file=sys.stderr, flush=True)
                del runs[variant]
            else:
                told = f"{case.name}, round {number + 1}/{rounds}, {variant}: {runs[variant][-1]}"
                print(told, file=sys.stderr, flush=True)
            yield runs


def run_all(args, work, left_out):
    rounds = args.rounds or (2 if args.quick else 3)
    results, measured, table = {}, {}, ""
    found = cases.make_emulated_cases(args.quick) if args.emulated else cases.make_cases(args.device, args.quick)
    for case in found:
        if args.only not in case.name:
            continue
        measured[case] = measure(args, case, work)
        for runs in run_case(args, case, rounds, work, measured[case]["attention"], left_out):
            results[case] = runs
            table = report.write(results, measured, args.ranks, args.threads, rounds, left_out)
            if args.output:  # after each run: who stops the rest keeps this one
                args.output.write_text(table + "\n", encoding="utf-8")
    return table


def stop(*_):
    """An exit ends the run in hand too. timeout(1) says it twice."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main():
    signal.signal(signal.SIGTERM, stop)
    args = parse_args()
    temporary = None if args.work else tempfile.mkdtemp(prefix="muster-bench-")
    work = Path(args.work or temporary).resolve()
    work.mkdir(parents=True, exist_ok=True)
    left_out = []
    try:
        table = run_all(args, work, left_out)
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    print(table)
    for case, variant, failure in left_out:  # again, where nobody overlooks it
        print(f"left out: {case.name}, {variant}: {failure}", file=sys.stderr)
    # torch.compile may fail: it wants a C compiler
    return 1 if any(variant not in COMPILE_MODES for _, variant, _ in left_out) else 0


if __name__ == "__main__":
    sys.exit(main())
