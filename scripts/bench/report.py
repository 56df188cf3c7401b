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
        pairs = list(zip(runs.get("muster exact", []), others))
        if variant == "muster exact" or not pairs:
            continue
        yield [
            case.name,
            variant,
            spread((a.tokens_per_s / b.tokens_per_s for a, b in pairs), ".2f"),
            spread((a.memory_mib / b.memory_mib for a, b in pairs), ".2f"),
            spread((a.first_step_s / b.first_step_s for a, b in pairs), ".2f"),
        ]


def promised():
    """Of a known GPU, what the data sheet says of bf16 without sparsity."""
    return next((peak for name, peak in BF16_TFLOPS.items() if name in gpu()), None)


def tflops(case, kept):
    """By 6N + 12LCT, and the MFU where the peak is known."""
    rate = median(r.tokens_per_s for r in kept) * case.flops_per_token / 1e12
    peak = promised() if case.device == "cuda" and case.precision == "bf16" else None
    return f"{rate:.2f}" + (f", MFU {rate / peak:.1%}" if peak else "")


def value_rows(case, runs):
    for variant, kept in runs.items():
        if not kept:
            continue
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


@cache
def gpu():
    return _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


@cache
def machine(compared):
    return [*_machine(compared)]


# What it is, and the memory of a process that imports it and does nothing else.
TORCH = """
import torch
told = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
if torch.cuda.is_available():
    told += ["CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version(), "NCCL", torch.cuda.nccl.version()]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(*told, "alone has", int(status["VmHWM"].split()[0]) // 1024, "MiB")
"""


def _machine(compared):
    here = Path(__file__).resolve().parent
    commit = os.environ.get("MUSTER_COMMIT") or _output("git", "-C", str(here), "describe", "--always", "--dirty")
    yield f"* Processor: {_processor()}, {os.cpu_count()} cores; Linux {platform.release()}"
    yield f"* muster: commit {commit}"
    if gpu() != "unknown":
        yield f"* GPU: {gpu()}"
    yield f"* MPI: {_output('mpirun', '--version')}"
    if compared:
        yield f"* PyTorch {_output(sys.executable, '-c', TORCH)}, Python {platform.python_version()}"


def disturbed(results):
    """A sentence on the runs that something else slowed, or nothing."""
    kept = [run for case, runs in results.items() for variant in runs.values() for run in variant if case.device == "cpu"]
    count = sum(run.cpu_share < QUIET_CPU_SHARE for run in kept)
    if not count:
        return []
    told = f"{count} of {len(kept)} runs got less than {QUIET_CPU_SHARE:.0%} of their cores."
    return ["", f"The machine was not quiet: {told}"]


MUSTER_ON_GPU = """\
* muster: `reduce: exact`, bf16 with fp32 master weights, gradients and moments, AdamW, gradients clipped to norm 1;
  whatever it does repeats to the last bit"""
TORCH_ON_GPU = """\
* PyTorch: bf16 by autocast over fp32 weights, gradients and moments, fused AdamW, gradients clipped to norm 1, the
  fused attention that is fastest here, nothing asked to repeat; compiled as a whole, 1.5B block by block"""


def has_torch(results):
    return any(variant.startswith("PyTorch") for runs in results.values() for variant in runs)


def settings(results, measured):
    """How each program was told to train, where a GPU does."""
    if not any(case.device == "cuda" for case in results):
        return
    yield MUSTER_ON_GPU
    if has_torch(results):
        yield TORCH_ON_GPU
    if promised():
        yield f"* MFU: of {promised()} TFLOP/s, the data sheet's for bf16 without sparsity"
    for case, found in measured.items():
        if "product_tflops" in found:
            times = ", ".join(f"{name} {ms:.1f}" if ms else f"{name} -" for name, ms in found["attention_ms"].items())
            yield (f"* PyTorch, {case.name}: a product of 8192 x 8192 reaches {found['product_tflops']:.0f} TFLOP/s; "
                   f"attention, ms of ten times forward and backward: {times}")


def write(results, measured, ranks, threads, rounds, left_out):
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
        *machine(has_torch(results)),
        *settings(results, measured),
        f"* {ranks} ranks of {threads} thread(s), at most {rounds} rounds; {batches}",
        *(f"* Left out, because it failed: {case.name}, {variant}" for case, variant, _ in left_out),
        "",
        *(compared if ratio_lines else []),
        "Each program; median (min–max) over rounds:",
        "",
        table(value_head, [row for case, runs in results.items() for row in value_rows(case, runs)]),
        *disturbed(results),
    ]
    return "\n".join(parts)
