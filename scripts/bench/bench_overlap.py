# SPDX-License-Identifier: MIT
"""Measures how much of the communication of a training step hides behind its computation.

Two ranks of one thread, each in a network namespace of its own. T_compute is the step time of the same work without a
partner (two jobs of one rank side by side, so that both cores are as busy); T_comm is what a step takes longer when
nothing overlaps; E = 1 - (T_step - T_compute) / T_comm.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
import launch
from link import Link

CASE = cases.Case("GPT 3M", "fp32", layers=6, width=192, heads=6, vocabulary=256, length=256,
                  micro_batch=16, steps=9, warmup=3)
MASTER_PORT = "29500"  # the namespaces are ours
# name -> what the job says under `parallel`
MUSTER = {
    "exact": {"reduce": "exact"},
    "fast": {"reduce": "fast"},
    "exact, no overlap": {"reduce": "exact", "overlap_comm": "false"},
}


def parse_args():
    parser = argparse.ArgumentParser(prog="scripts/bench_overlap.sh", description=__doc__)
    parser.add_argument("--rates", default="250,60", help="of the link, Mbit/s, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=CASE.steps, help="of which the first 3 are not counted")
    parser.add_argument("--bucket-mb", type=int, default=2, help="of both programs")
    parser.add_argument("--micro-batch", type=int, default=CASE.micro_batch,
                        help=f"sequences of {CASE.length} tokens a rank and step")
    parser.add_argument("--zero-stage", type=int, default=0, help="0 keeps what PyTorch's DDP keeps")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--worker", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def mpi_environment(link, work):
    subnet = f"{link.address(0).rpartition('.')[0]}.0/24"
    settings = {"btl": "self,tcp", "pml": "ob1", "hwloc_base_binding_policy": "none",
                "rmaps_base_oversubscribe": "1", "btl_tcp_if_include": subnet, "oob_tcp_if_include": subnet,
                "plm_rsh_agent": str(work / "agent"), "orte_leave_session_attached": "1",
                "orte_tmpdir_base": str(work)}
    found = {"OMPI_MCA_" + name: value for name, value in settings.items()}
    found["OMP_NUM_THREADS"] = "1"
    if os.geteuid() == 0:
        found |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return found


def write_job(args, case, folder, data, ranks, parallel):
    words = {"zero_stage": args.zero_stage, "bucket_mb": args.bucket_mb} | parallel
    folder.mkdir()
    text = cases.job_text(case, folder, data, ranks, 1, words)
    (folder / "bench.yaml").write_text(text, encoding="utf-8")
    return str(folder / "bench.yaml")


def muster_pair(args, case, link, work, parallel):
    """Both ranks, each in its namespace."""
    job = write_job(args, case, work / "run", cases.write_data(case, work), 2, parallel)
    hosts = ",".join(f"{link.address(rank)}:1" for rank in range(2))
    argv = [*link.inside(0), "mpirun", "-H", hosts, "-n", "2", str(args.worker), job]
    return [(argv, mpi_environment(link, work))], work / "run" / "metrics.jsonl"


def muster_alone(args, case, link, work):
    """Two jobs of one rank that know nothing of each other."""
    data = cases.write_data(case, work)
    commands = []
    for rank in range(2):
        job = write_job(args, case, work / f"run{rank}", data, 1, {"reduce": "exact"})
        argv = [*link.inside(rank), "mpirun", "-n", "1", str(args.worker), job]
        commands.append((argv, mpi_environment(link, work)))
    return commands, work / "run0" / "metrics.jsonl"


def torch_commands(args, case, link, work, ranks):
    """Ranks of one job (2), or two jobs of one rank."""
    data = cases.write_data(case, work)
    (work / "run").mkdir()
    commands = []
    for rank in range(2):
        metrics = work / "run" / f"metrics{rank}.jsonl"
        argv = cases.torch_argv(case, metrics.parent, data, sys.executable, 1, "default")
        ((argv, environment),) = cases.torch_commands(argv, metrics.parent, None, 1, 1)
        argv[argv.index("--metrics") + 1] = str(metrics)
        argv += ["--bucket-mb", str(args.bucket_mb)]
        environment |= {"GLOO_SOCKET_IFNAME": link.device, "RANK": str(rank if ranks == 2 else 0),
                        "WORLD_SIZE": str(ranks), "MASTER_ADDR": link.address(0 if ranks == 2 else rank),
                        "MASTER_PORT": MASTER_PORT}
        commands.append((link.inside(rank) + argv, environment))
    return commands, work / "run" / "metrics0.jsonl"


def measure(args, case, link, work, name):
    """Milliseconds of a step, and bytes on the wire of one."""
    for folder in work.glob("run*"):
        shutil.rmtree(folder)
    program, _, how = name.partition(": ")
    if program == "muster":
        made = muster_alone(args, case, link, work) if how == "alone" else muster_pair(
            args, case, link, work, MUSTER[how])
    else:
        made = torch_commands(args, case, link, work, 1 if how == "alone" else 2)
    commands, metrics = made
    before = link.bytes_sent()
    rank_name = args.worker.name if program == "muster" else None
    watched = launch.run(commands, metrics, case.warmup, 2, work / "log", rank_name=rank_name)
    sent = (link.bytes_sent() - before) / len(watched.steps)
    times = [line["step_ms"] for line in watched.steps[case.warmup:]]
    return statistics.median(times), sent, watched.cpu_share


def run_rate(args, case, link, work, rate):
    """Every variant once a round, in an order that turns round."""
    names = [f"muster: {how}" for how in ("alone", *MUSTER)]
    if not args.no_torch:
        names += ["PyTorch: alone", "PyTorch: DDP"]
    link.limit(rate)
    found = {name: [] for name in names}
    for number in range(args.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measure(args, case, link, work, name))
            step, sent, share = found[name][-1]
            print(f"{rate} Mbit/s, round {number + 1}, {name}: {step:.0f} ms, {sent / 1e6:.1f} MB, CPU {share:.2f}",
                  file=sys.stderr, flush=True)
    return found


def spread(values, digits=0):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def rows(rate, found):
    """One row a variant; differences are taken within a round."""
    lines = []
    comm = [off[0] - alone[0] for off, alone in zip(found["muster: exact, no overlap"], found["muster: alone"])]
    for name, runs in found.items():
        alone = found[name.partition(":")[0] + ": alone"]
        exposed = [run[0] - base[0] for run, base in zip(runs, alone)]
        hidden = [1 - e / c for e, c in zip(exposed, comm)]
        is_alone = name.endswith("alone")
        lines.append(f"| {rate} | {name} | {spread([r[0] for r in runs])} | "
                     + ("- | - | -" if is_alone else f"{spread(exposed)} | {spread(hidden, 2)} | "
                        f"{statistics.median(r[1] for r in runs) / 1e6:.2f}")
                     + f" | {min(r[2] for r in runs):.2f} |")
    return lines


def version(words):
    try:
        return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def report(args, case, results):
    lines = [f"* {platform.processor() or platform.machine()}, {os.cpu_count()} cores; Linux {platform.release()}; "
             f"{version(['mpirun', '--version'])}"]
    if not args.no_torch:
        import torch
        lines.append(f"* PyTorch {torch.__version__}, DDP over gloo, bucket_cap_mb={args.bucket_mb}")
    lines += [f"* {case.name}, {case.micro_batch} x {case.length} tokens a rank and step, 1 thread a rank; "
              f"zero_stage {args.zero_stage}, bucket_mb {args.bucket_mb}; {args.rounds} rounds of {case.steps} steps, "
              f"{case.warmup} not counted", "",
              "| link, Mbit/s | program | step, ms | exposed, ms | E | MB on the wire a step | CPU share |",
              "| --- | --- | --- | --- | --- | --- | --- |"]
    for rate, found in results.items():
        lines += rows(rate, found)
    return "\n".join(lines)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = parse_args()
    case = cases.Case(**{**CASE.__dict__, "steps": args.steps, "micro_batch": args.micro_batch})
    work = Path(tempfile.mkdtemp(prefix="bench-overlap-"))
    results = {}
    try:
        with Link() as link:
            link.write_agent(work / "agent")
            for rate in (int(word) for word in args.rates.split(",")):
                results[rate] = run_rate(args, case, link, work, rate)
    except launch.RunFailed as failure:
        print(f"bench_overlap: {failure}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    table = report(args, case, results)
    print(table)
    if args.output:
        args.output.write_text(table + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
