#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records what PyTorch says about three small models, for tests/worker/test_golden.c to compare with.

Run by hand when a model or a format changes:  pip install torch numpy && python3 tests/golden/record.py

The models are written here once more, from their papers and with torch.nn.functional, so that both sides share
nothing but formulas. Everything is computed in float64 and stored as float32. Weights, tokens and pixels come
from `mixed`, which the test computes too, to the last bit. The names and shapes are muster's parameter table.

A .golden file is a list of records: a name (56 bytes, padded with zeros), a count (int64), `count` float32, all
little-endian.
"""
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

BATCH, SEQUENCE, WIDTH, LAYERS, HEADS, VOCABULARY = 3, 16, 32, 2, 4, 61
MLP_INPUT, MLP_WIDTH, MLP_LAYERS, MLP_CLASSES = 20, 24, 3, 10
NORM_EPSILON, ROPE_BASE = 1e-5, 10000.0
STEPS, ADAMW_LR, SGD_LR, MOMENTUM, WEIGHT_DECAY = 5, 0.01, 0.125, 0.875, 0.125
BETAS, EPSILON = (0.875, 0.9375), 1e-8
CLIP = {"gpt": 0.5, "llama": 0.5, "mlp": 0.625}


def mixed(name, count):
    """`count` 32-bit words: an integer hash of FNV-1a(name) + i."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 % 2**32
    x = (np.arange(count, dtype=np.uint64) + np.uint64(seed)) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x ^= x >> np.uint64(shift)
        x = x * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    return x


def uniform(name, count):
    """In [0, 1) with 24 bits: exact in float32."""
    return (mixed(name, count) >> np.uint64(8)).astype(np.float64) * 2.0**-24


def weight(name, shape):
    """Matrices in ±1/4, gains in 1 ± 1/8, biases in ±1/8; rounded to float32 as the test stores them."""
    values = 2.0 * uniform(name, int(np.prod(shape))) - 1.0
    if len(shape) == 2:
        values = values / 4
    elif name.endswith(".weight"):
        values = 1.0 + values / 8
    else:
        values = values / 8
    rounded = values.astype(np.float32).astype(np.float64).reshape(shape)
    return torch.tensor(rounded, dtype=torch.float64, requires_grad=True)


def integers(name, count, below):
    return torch.tensor((mixed(name, count) % np.uint64(below)).astype(np.int64))


def attention(qkv, kv_heads, rotary):
    head = WIDTH // HEADS
    q, k, v = qkv.split([HEADS * head, kv_heads * head, kv_heads * head], dim=-1)
    q = q.view(BATCH, SEQUENCE, HEADS, head).transpose(1, 2)
    k = k.view(BATCH, SEQUENCE, kv_heads, head).transpose(1, 2)
    v = v.view(BATCH, SEQUENCE, kv_heads, head).transpose(1, 2)
    if rotary:
        q, k = rotated(q), rotated(k)
    k = k.repeat_interleave(HEADS // kv_heads, dim=1)
    v = v.repeat_interleave(HEADS // kv_heads, dim=1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(BATCH, SEQUENCE, WIDTH)


def rotated(x):
    head = x.shape[-1]
    frequency = ROPE_BASE ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    angle = torch.outer(torch.arange(SEQUENCE, dtype=torch.float64), frequency)
    cosine, sine = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class Gpt:
    name = "gpt"

    def shapes(self):
        shapes = {"token_table": (VOCABULARY, WIDTH), "position_table": (SEQUENCE, WIDTH)}
        for b in range(LAYERS):
            for part, rows, columns in (("attention.qkv", 3 * WIDTH, WIDTH), ("attention.out", WIDTH, WIDTH),
                                        ("mlp.up", 4 * WIDTH, WIDTH), ("mlp.down", WIDTH, 4 * WIDTH)):
                shapes[f"blocks.{b}.{part}.weight"] = (rows, columns)
                shapes[f"blocks.{b}.{part}.bias"] = (rows,)
            for norm in ("norm1", "norm2"):
                shapes[f"blocks.{b}.{norm}.weight"] = shapes[f"blocks.{b}.{norm}.bias"] = (WIDTH,)
        shapes["norm_final.weight"] = shapes["norm_final.bias"] = (WIDTH,)
        return shapes

    def logits(self, p):
        def norm(x, name):
            return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], NORM_EPSILON)

        def linear(x, name):
            return F.linear(x, p[name + ".weight"], p[name + ".bias"])

        ids = integers("ids", BATCH * SEQUENCE, VOCABULARY).view(BATCH, SEQUENCE)
        x = F.embedding(ids, p["token_table"]) + p["position_table"]
        for b in range(LAYERS):
            block = f"blocks.{b}."
            qkv = linear(norm(x, block + "norm1"), block + "attention.qkv")
            x = x + linear(attention(qkv, HEADS, False), block + "attention.out")
            up = linear(norm(x, block + "norm2"), block + "mlp.up")
            x = x + linear(F.gelu(up, approximate="tanh"), block + "mlp.down")
        return F.linear(norm(x, "norm_final"), p["token_table"]).view(-1, VOCABULARY)


class Llama:
    name = "llama"
    kv_heads, ffn = 2, 48

    def shapes(self):
        shapes = {"token_table": (VOCABULARY, WIDTH), "head.weight": (VOCABULARY, WIDTH),
                  "norm_final.weight": (WIDTH,)}
        qkv = WIDTH + 2 * self.kv_heads * (WIDTH // HEADS)
        for b in range(LAYERS):
            shapes[f"blocks.{b}.attention.qkv.weight"] = (qkv, WIDTH)
            shapes[f"blocks.{b}.attention.out.weight"] = (WIDTH, WIDTH)
            shapes[f"blocks.{b}.mlp.gate_up.weight"] = (2 * self.ffn, WIDTH)
            shapes[f"blocks.{b}.mlp.down.weight"] = (WIDTH, self.ffn)
            shapes[f"blocks.{b}.norm1.weight"] = shapes[f"blocks.{b}.norm2.weight"] = (WIDTH,)
        return shapes

    def logits(self, p):
        def norm(x, name):
            return F.rms_norm(x, (WIDTH,), p[name + ".weight"], NORM_EPSILON)

        ids = integers("ids", BATCH * SEQUENCE, VOCABULARY).view(BATCH, SEQUENCE)
        x = F.embedding(ids, p["token_table"])
        for b in range(LAYERS):
            block = f"blocks.{b}."
            qkv = F.linear(norm(x, block + "norm1"), p[block + "attention.qkv.weight"])
            x = x + F.linear(attention(qkv, self.kv_heads, True), p[block + "attention.out.weight"])
            gate, up = F.linear(norm(x, block + "norm2"), p[block + "mlp.gate_up.weight"]).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, p[block + "mlp.down.weight"])
        return F.linear(norm(x, "norm_final"), p["head.weight"]).view(-1, VOCABULARY)


class Mlp:
    name = "mlp"

    def shapes(self):
        shapes, width = {}, MLP_INPUT
        for layer in range(MLP_LAYERS):
            shapes[f"layers.{layer}.weight"], shapes[f"layers.{layer}.bias"] = (MLP_WIDTH, width), (MLP_WIDTH,)
            width = MLP_WIDTH
        shapes["head.weight"], shapes["head.bias"] = (MLP_CLASSES, MLP_WIDTH), (MLP_CLASSES,)
        return shapes

    def logits(self, p):
        x = torch.tensor(uniform("pixels", BATCH * MLP_INPUT)).view(BATCH, MLP_INPUT)
        for layer in range(MLP_LAYERS):
            x = F.relu(F.linear(x, p[f"layers.{layer}.weight"], p[f"layers.{layer}.bias"]))
        return F.linear(x, p["head.weight"], p["head.bias"])


def targets_of(logits):
    """Every eleventh is -1: a token that does not count."""
    targets = integers("targets", logits.shape[0], logits.shape[1])
    targets[10::11] = -1
    return targets


def losses_of(model, params):
    logits = model.logits(params)
    return logits, F.cross_entropy(logits, targets_of(logits), ignore_index=-1, reduction="none")


def mean_of(losses):
    return losses.sum() / losses.numel()


def started(model):
    return {name: weight(name, shape) for name, shape in model.shapes().items()}


def trajectory(model, optimizer_of):
    """Losses before each step and after the last one; gradient norms before clipping."""
    params = started(model)
    matrices = [p for p in params.values() if p.dim() == 2]
    vectors = [p for p in params.values() if p.dim() == 1]
    optimizer = optimizer_of([{"params": matrices, "weight_decay": WEIGHT_DECAY},
                              {"params": vectors, "weight_decay": 0.0}])
    means, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        mean = mean_of(losses_of(model, params)[1])
        mean.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(params.values(), CLIP[model.name])))
        means.append(mean.item())
        optimizer.step()
    means.append(mean_of(losses_of(model, params)[1]).item())
    return means, norms


def record(model):
    params = started(model)
    logits, losses = losses_of(model, params)
    mean = mean_of(losses)
    mean.backward()
    records = {"logits": logits, "loss": losses, "loss.mean": mean}
    for name, param in params.items():
        records["grad." + name] = param.grad
    optimizers = {
        "adamw": lambda groups: torch.optim.AdamW(groups, lr=ADAMW_LR, betas=BETAS, eps=EPSILON),
        "sgd": lambda groups: torch.optim.SGD(groups, lr=SGD_LR, momentum=MOMENTUM),
        "nesterov": lambda groups: torch.optim.SGD(groups, lr=SGD_LR, momentum=MOMENTUM, nesterov=True),
    }
    for name, optimizer_of in optimizers.items():
        means, norms = trajectory(model, optimizer_of)
        print(f"{model.name} {name}: loss {means}, norm {norms}")
        records[name + ".loss"], records[name + ".norm"] = torch.tensor(means), torch.tensor(norms)
    path = pathlib.Path(__file__).with_name(model.name + ".golden")
    with open(path, "wb") as file:
        for name, values in records.items():
            values = values.detach().numpy().astype("<f4").reshape(-1)
            file.write(struct.pack("<56sq", name.encode(), values.size) + values.tobytes())
    print(f"{path.name}: {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    for each in (Gpt(), Llama(), Mlp()):
        record(each)
