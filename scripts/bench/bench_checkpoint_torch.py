# SPDX-License-Identifier: MIT
"""How long torch.save and dcp.async_save keep the caller, for the model of bench_torch.py with AdamW's state."""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from bench_torch import Gpt

ROUNDS = 3


def timed(action):
    started = time.perf_counter()
    result = action()
    return 1e3 * (time.perf_counter() - started), result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("layers", "width", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{args.folder}/rendezvous", rank=0, world_size=1)
    model = Gpt(args.layers, args.width, args.width // 64, 50304, 256)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    whole, staged, ended = [], [], []
    for number in range(ROUNDS):
        path = args.folder / "torch.pt"
        whole.append(timed(lambda: torch.save(state, path))[0])
        path.unlink()
        started = time.perf_counter()
        stall, future = timed(lambda: dcp.async_save(state, checkpoint_id=str(args.folder / f"dcp-{number}")))
        staged.append(stall)
        getattr(future, "upload_completion", future).result()
        ended.append(1e3 * (time.perf_counter() - started))
    print(json.dumps({"torch.save, ms": statistics.median(whole), "dcp.async_save, ms": statistics.median(staged),
                      "dcp.async_save to its end, ms": statistics.median(ended)}))
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
