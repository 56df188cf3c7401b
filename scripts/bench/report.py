# SPDX-License-Identifier: MIT
"""Markdown from runs: medians with the smallest and largest of the rounds, and ratios taken within each round."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median

MIB = 1 << 20
BF16_TFLOPS = {"H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312}  # of the data sheets
QUIET_CPU_SHARE = 0.9  # a run below it waited for the processor: something else ran beside it


@dataclass
class Run:
    tokens_per_s: float
    memory_mib: float
    first_step_s: float
    cpu_share: float
    reduce_ms: float  # of a step; 0 where the program does not say
    update_ms: float
    parameters: int

    @classmethod
    def from_watched(cls, case, watched, parameters):
        counted = watched.steps[case.warmup :]
        step_tokens = watched.steps[0]["tokens"]
        return cls(
            tokens_per_s=step_tokens * len(counted) / (sum(s["step_ms"] for s in counted) / 1e3),
            memory_mib=watched.memory_bytes / MIB,
            first_step_s=watched.first_step_s,
            cpu_share=watched.cpu_share,
            reduce_ms=mean(s.get("reduce_ms", 0.0) for s in counted),
            update_ms=mean(s.get("update_ms", 0.0) for s in counted),
            parameters=parameters,
        )

    def __str__(self):
        return (
            f"{self.tokens_per_s:.0f} tokens/s, {self.memory_mib:.0f} MiB, first step after "
            f"{self.first_step_s:.1f} s, CPU share {self.cpu_share:.2f}"
        )


def spread(values, form):
    values = list(values)
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def ratio_rows(case, runs):
    """muster (exact) over each other program, run for run of the same round."""
    for variant, others in runs.items():
        if variant == "muster exact":
            continue
        pairs = list(zip(runs["muster exact"], others))
        yield [
            case.name,
            variant,
            spread((a.tokens_per_s / b.tokens_per_s for a, b in pairs), ".2f"),
            spread((a.memory_mib / b.memory_mib for a, b in pairs), ".2f"),
            spread((a.first_step_s / b.first_step_s for a, b in pairs), ".2f"),
        ]


def tflops(case, kept):
    """By 6N + 12LCT, and of a known GPU its MFU: the share of what the data sheet promises for bf16 without sparsity."""
    rate = median(r.tokens_per_s for r in kept) * case.flops_per_token / 1e12
    peak = next((peak for name, peak in BF16_TFLOPS.items() if name in gpu()), None) if case.device == "cuda" else None
    return f"{rate:.2f}" + (f", MFU {rate / peak:.1%}" if peak and case.precision == "bf16" else "")


def value_rows(case, runs):
    for variant, kept in runs.items():
        inside = "-"
        if variant.startswith("muster"):
            inside = f"{median(r.reduce_ms for r in kept):.0f} / {median(r.update_ms for r in kept):.0f}"
        yield [
            case.name,
            variant,
            spread((r.tokens_per_s for r in kept), ".0f"),
            tflops(case, kept),
            spread((r.memory_mib for r in kept), ".0f"),
            spread((r.first_step_s for r in kept), ".1f"),
            inside,
            f"{median(r.cpu_share for r in kept):.2f}",
        ]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _output(*argv):
    try:
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0].strip() if lines else "unknown"


def _processor():
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    return found.group(1) if found else platform.machine()


def _import_memory():
    """Of a Python process that imports torch and does nothing else, in MiB."""
    text = "import torch; print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM:')))"
    found = _output(sys.executable, "-c", text)
    return f"{int(found) / 1024:.0f} MiB" if found.isdigit() else "unknown"


@cache
def gpu():
    return _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


@cache
def machine():
    return [*_machine()]


def _machine():
    torch = "import torch; print(torch.__version__, torch.backends.cpu.get_cpu_capability())"
    here = Path(__file__).resolve().parent
    yield f"* Processor: {_processor()}, {os.cpu_count()} cores; Linux {platform.release()}"
    yield f"* muster: commit {_output('git', '-C', str(here), 'describe', '--always', '--dirty')}"
    if gpu() != "unknown":
        yield f"* GPU: {gpu()}"
    yield f"* MPI: {_output('mpirun', '--version')}"
    yield f"* PyTorch {_output(sys.executable, '-c', torch)}, Python {platform.python_version()}"
    yield f"* Memory of a process that only imports torch: {_import_memory()}"


def disturbed(results):
    """A sentence on the runs that something else slowed, or nothing."""
    kept = [run for case, runs in results.items() for variant in runs.values() for run in variant if case.device == "cpu"]
    count = sum(run.cpu_share < QUIET_CPU_SHARE for run in kept)
    if not count:
        return []
    told = f"{count} of {len(kept)} runs got less than {QUIET_CPU_SHARE:.0%} of their cores."
    return ["", f"The machine was not quiet: {told}"]


def write(results, ranks, threads, rounds):
    ratio_head = ["case", "muster exact ÷", "tokens/s", "peak memory", "time to first step"]
    ratio_lines = [row for case, runs in results.items() for row in ratio_rows(case, runs)]
    value_head = ["case", "program", "tokens/s", "TFLOP/s (6N + 12LCT)", "peak memory, MiB, all ranks", "first step done after, s"]
    value_head += ["reduce / update, ms a step", "CPU share"]
    batches = "; ".join(f"{c.name}: {c.accumulate} x {c.micro_batch} x {c.length} tokens a rank and step" for c in results)
    compared = [
        "Ratios within a round; median (min–max) over rounds:",
        "",
        table(ratio_head, ratio_lines),
        "",
    ]
    parts = [
        *machine(),
        f"* {ranks} ranks of {threads} thread(s), {rounds} rounds; {batches}",
        "",
        *(compared if ratio_lines else []),
        "Each program; median (min–max) over rounds:",
        "",
        table(value_head, [row for case, runs in results.items() for row in value_rows(case, runs)]),
        *disturbed(results),
    ]
    return "\n".join(parts)
