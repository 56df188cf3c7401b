# SPDX-License-Identifier: MIT
"""What is measured: the models, their data, and how each program is told to train them."""

import math
import os
import random
import socket
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    model: str
    precision: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    length: int
    micro_batch: int
    steps: int
    warmup: int  # steps at the start that are not counted
    device: str = "cpu"
    accumulate: int = 1  # micro-batches a rank and step
    launch_bound: bool = False  # launches are what takes time: PyTorch gets its CUDA graphs
    deep: bool = False  # to compile the whole takes minutes: PyTorch compiles it block by block
    emulated: bool = False  # no GPU: muster has its emulated plug-in, PyTorch the CPU

    @property
    def name(self):
        return f"{self.model} {self.precision}"

    @property
    def flops_per_token(self):
        """6 N + 12 L C T: N parameters of the matrices and tables, the usual convention."""
        parameters = 12 * self.layers * self.width**2 + self.vocabulary * self.width
        return 6 * parameters + 12 * self.layers * self.width * self.length

    @property
    def first_loss(self):
        """Around which a fresh model starts: logits are normal, of variance 0.02² · width, over the whole vocabulary."""
        return math.log(self.vocabulary) + 0.5 * 0.02**2 * self.width

    @property
    def token_bytes(self):
        return 1 if self.vocabulary <= 256 else 2


def make_cases(device, quick):
    return _gpu_cases(quick) if device == "cuda" else _cpu_cases(quick)


def make_emulated_cases(quick):
    """For a try of the benchmark itself where there is no GPU; what it measures means nothing."""
    tiny = {"width": 16, "heads": 2, "vocabulary": 256, "length": 16, "micro_batch": 2, "steps": 6, "warmup": 2}
    tiny |= {"device": "cuda", "emulated": True}
    found = [
        Case("tiny, 2 micro-steps,", "bf16", layers=1, **tiny, accumulate=2),
        Case("tiny, 1 micro-step,", "bf16", layers=1, **tiny, launch_bound=True),
    ]
    if not quick:
        found.append(Case("tiny, 1.5B's likeness,", "bf16", layers=12, **tiny, deep=True))
    return found


def _gpu_cases(quick):
    """A full step of half a million tokens, one of 4096 tokens where launches are what takes time, and a piece of a step
    of a large model: what its update costs is a small part of that too."""
    gpt2 = {"layers": 12, "width": 768, "heads": 12, "vocabulary": 50304, "length": 1024, "device": "cuda"}
    xl = {"layers": 48, "width": 1600, "heads": 25, "vocabulary": 50304, "length": 1024, "device": "cuda"}
    found = [
        Case("GPT-2 124M, 0.5M tokens,", "bf16", **gpt2, micro_batch=32, accumulate=16, steps=8, warmup=3),
        Case("GPT-2 124M, 4096 tokens,", "bf16", **gpt2, micro_batch=4, steps=120, warmup=20, launch_bound=True),
    ]
    if not quick:
        xl |= {"micro_batch": 8, "accumulate": 8, "steps": 8, "warmup": 2, "deep": True}
        found.append(Case("GPT-2 1.5B, 65536 tokens,", "bf16", **xl))
    return found


def _cpu_cases(quick):
    small = {"layers": 6, "width": 384, "heads": 6, "vocabulary": 256, "length": 256, "micro_batch": 8}
    large = {"layers": 12, "width": 768, "heads": 12, "vocabulary": 50304, "length": 256, "micro_batch": 4}
    found = [Case("GPT 10M", p, **small, steps=10 if quick else 20, warmup=3) for p in ("fp32", "bf16")]
    if not quick:
        found += [Case("GPT-2 124M", p, **large, steps=9, warmup=3) for p in ("fp32", "bf16")]
    return found


def write_data(case, folder):
    """Tokens drawn at random: what a step costs does not depend on which tokens it sees."""
    path = folder / ("tokens.u16" if case.token_bytes == 2 else "text.txt")
    if path.exists():
        return path
    draw = random.Random(1337)
    if case.token_bytes == 2:
        tokens = array("H", (draw.randrange(case.vocabulary) for _ in range(1 << 20)))
        if sys.byteorder == "big":
            tokens.byteswap()
        path.write_bytes(tokens.tobytes())
    else:
        words = ["".join(draw.choices("etaoinshrdlucmfwyp", k=draw.randint(1, 9))) for _ in range(2000)]
        path.write_text("\n".join(" ".join(draw.choices(words, k=12)) for _ in range(20000)), encoding="ascii")
    return path


JOB = """name: bench
output_dir: {folder}
device: {case.device}
model:
  type: gpt
  num_layers: {case.layers}
  hidden_size: {case.width}
  num_heads: {case.heads}
  vocab_size: {case.vocabulary}
data: {{train: {data}, format: {format}, seq_len: {case.length}}}
train:
  micro_batch_size: {case.micro_batch}
  global_batch_size: {batch}
  max_steps: {case.steps}
  precision: {case.precision}
optimizer: {{type: adamw, lr: 1e-4, beta1: 0.9, beta2: 0.95, weight_decay: 0.1}}
scheduler: {{type: constant}}
parallel: {{threads: {threads}, logical_workers: {ranks}, {parallel}}}
checkpoint: {{resume: never}}
"""


def job_text(case, folder, data, ranks, threads, parallel):
    """The job file; `parallel` is what it says in that section besides threads and logical workers."""
    return JOB.format(
        case=case,
        folder=folder,
        data=data,
        format="u16" if case.token_bytes == 2 else "bytes",
        batch=case.micro_batch * case.accumulate * ranks,
        ranks=ranks,
        threads=threads,
        parallel=", ".join(f"{key}: {value}" for key, value in parallel.items()),
    )


def muster_commands(case, folder, data, worker, reduce, ranks, threads):
    """One mpirun. Neither program's ranks are bound to cores."""
    job = folder / "bench.yaml"
    job.write_text(job_text(case, folder, data, ranks, threads, {"reduce": reduce}), encoding="utf-8")
    environment = {"OMP_NUM_THREADS": str(threads)}
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    argv = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(ranks), str(worker), str(job)]
    return [(argv, environment)]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torch_argv(case, folder, data, python, threads, attention):
    argv = [python, str(HERE / "bench_torch.py"), "--data", str(data), "--metrics", str(folder / "metrics.jsonl")]
    for name in ("token_bytes", "layers", "width", "heads", "vocabulary", "length", "micro_batch", "accumulate", "steps"):
        argv += ["--" + name.replace("_", "-"), str(getattr(case, name))]
    argv += ["--threads", str(threads), "--precision", case.precision]
    argv += ["--device", "cpu" if case.emulated else case.device, "--attention", attention]
    return argv


def torch_commands(argv, folder, compile_mode, ranks, threads):
    """One process a rank; gloo talks over the loopback device. `compile_mode` is torch.compile's, or nothing."""
    argv = argv + (["--compile", compile_mode] if compile_mode else [])
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(ranks),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "inductor"),
    }
    return [(argv, {**shared, "RANK": str(rank)}) for rank in range(ranks)]
