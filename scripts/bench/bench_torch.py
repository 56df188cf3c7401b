# SPDX-License-Identifier: MIT
"""One PyTorch rank training the GPT that muster trains, with the settings a careful user would pick.

What is alike is what costs: layer for layer the same model, the same samples a step, gradients clipped to norm 1,
AdamW with the decay on matrices only, fp32 weights, gradients and moments, bf16 through autocast. Ranks are started
as plain processes with torch.distributed's environment, which is faster than its launcher. Rank 0 writes a line of
JSON per step in the form of muster's metrics.jsonl.
"""

import argparse
import json
import math
import os
import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


ATTENTION = {
    "flash": torch.backends.cuda.enable_flash_sdp,
    "cudnn": torch.backends.cuda.enable_cudnn_sdp,
    "efficient": torch.backends.cuda.enable_mem_efficient_sdp,
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """GPT-2: learned positions, biases everywhere but in the head, which is the token table."""

    def __init__(self, layers, width, heads, vocabulary, length):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm_final = nn.LayerNorm(width)
        for name, param in self.named_parameters():
            if param.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(param, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(param)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        return self.loss(x, targets)

    def loss(self, x, targets):
        logits = F.linear(self.norm_final(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--token-bytes", type=int, choices=(1, 2), required=True)
    parser.add_argument("--metrics", required=True, help="file of JSON lines that rank 0 writes")
    for name in ("layers", "width", "heads", "vocabulary", "length", "micro-batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches a step")
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    parser.add_argument(
        "--compile", choices=("default", "reduce-overhead", "blocks"),
        help="torch.compile's mode; blocks: block by block, which deep models do for the time that the whole takes"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--attention", choices=("default", "measure", *ATTENTION), default="default",
        help="the only fused back end; measure: print how fast each is, in JSON, and no more"
    )
    parser.add_argument("--bucket-mb", type=int, default=25, help="DDP's own default unless told")
    return parser.parse_args()


def batches(args, rank):
    """Random windows of the file, without end."""
    data = np.memmap(args.data, dtype=np.uint16 if args.token_bytes == 2 else np.uint8, mode="r")
    random = np.random.default_rng(1337 + rank)
    while True:
        starts = random.integers(0, len(data) - args.length, args.micro_batch)
        rows = np.stack([data[s : s + args.length + 1] for s in starts]).astype(np.int64)
        rows = torch.from_numpy(rows)
        if args.device == "cuda":
            rows = rows.pin_memory().to("cuda", non_blocking=True)
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def use_attention(wanted):
    """Lets scaled_dot_product_attention choose no other fused back end."""
    for name, enable in ATTENTION.items():
        enable(name == wanted)


def elapsed_ms(action, runs=10, warmup=3):
    """Of so many runs on the GPU."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for run in range(warmup + runs):
        if run == warmup:
            begin.record()
        action()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def attention_ms(args, name):
    """Of ten forward and backward passes as in a block; nothing where the back end does not take the shape."""
    use_attention(name)
    torch.backends.cuda.enable_math_sdp(False)
    shape = (args.micro_batch, args.length, args.heads, args.width // args.heads)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    qkv = torch.randn((*shape[:2], 3, *shape[2:]), device="cuda", dtype=dtype, requires_grad=True)
    dy = torch.randn(shape, device="cuda", dtype=dtype).transpose(1, 2)

    def both_passes():
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(dy)
        qkv.grad = None

    try:
        return elapsed_ms(both_passes)
    except RuntimeError:
        return None


def product_tflops(edge=8192, runs=10):
    """What a large product of random bf16 numbers reaches."""
    a, b = (torch.randn(edge, edge, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2e-9 * edge**3 * runs / elapsed_ms(lambda: a @ b, runs)


def measure(args):
    """The fastest attention, which is PyTorch's own choice, "default", where no fused back end takes the shape."""
    found = {name: attention_ms(args, name) for name in ATTENTION}
    taken = {name: ms for name, ms in found.items() if ms is not None}
    best = min(taken, key=taken.get, default="default")
    return {"attention": best, "attention_ms": found, "product_tflops": product_tflops()}


def rank_count():
    return dist.get_world_size() if dist.is_initialized() else 1


def compiled(bare, mode):
    if mode != "blocks":
        return torch.compile(bare, mode=mode)
    for block in bare.blocks:
        block.compile()
    bare.loss = torch.compile(bare.loss)
    return bare


def make_model(args):
    torch.manual_seed(1337)
    with torch.device(args.device):
        bare = Gpt(args.layers, args.width, args.heads, args.vocabulary, args.length)
    matrices = [p for p in bare.parameters() if p.dim() == 2]
    vectors = [p for p in bare.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    module = compiled(bare, args.compile) if args.compile else bare
    if rank_count() > 1:
        module = DistributedDataParallel(
            module, gradient_as_bucket_view=True, broadcast_buffers=False, bucket_cap_mb=args.bucket_mb,
            static_graph=not args.compile and args.accumulate == 1,
        )
    return bare, module, optimizer


def micro_steps(args, module, source):
    """The mean loss of a step; gradients are exchanged with the last micro-batch."""
    total = 0.0
    for number in range(args.accumulate):
        ids, targets = next(source)
        last = number == args.accumulate - 1
        quiet = nullcontext() if last or rank_count() == 1 else module.no_sync()
        with quiet:
            with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
                loss = module(ids, targets) / args.accumulate
            loss.backward()
        total = total + loss.detach()
    return total


def main():
    args = parse_args()
    if args.attention == "measure":
        print(json.dumps(measure(args)))
        return
    if args.attention != "default":
        use_attention(args.attention)
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.cuda.set_device(int(os.environ["RANK"]) % torch.cuda.device_count())
    if int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
    rank, ranks = int(os.environ["RANK"]), rank_count()
    bare, module, optimizer = make_model(args)
    params = list(bare.parameters())
    source = batches(args, rank)
    step_tokens = ranks * args.accumulate * args.micro_batch * args.length
    metrics = open(args.metrics, "w", encoding="ascii") if rank == 0 else None
    last = time.perf_counter()
    for step in range(1, args.steps + 1):
        value = micro_steps(args, module, source)
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = value.item()
        now = time.perf_counter()
        if metrics:
            line = {"step": step, "loss": value, "tokens": step * step_tokens, "step_ms": 1e3 * (now - last)}
            line["parameters"] = sum(p.numel() for p in params)
            print(json.dumps(line), file=metrics, flush=True)
        last = now
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    main()
