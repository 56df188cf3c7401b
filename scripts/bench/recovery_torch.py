# SPDX-License-Identifier: MIT
"""One rank under torchrun that loads the newest distributed checkpoint (DCP), trains, saves, and kills itself.

Rank 1 kills itself (SIGKILL) a given number of steps after each start, as often as asked for; torchrun starts all ranks
again. Rank 0 writes the time of every finished step, rank 1 that of every death.
"""

import argparse
import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from bench_torch import batches, make_model


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--data", required=True)
    for name in ("layers", "width", "heads", "vocabulary", "length", "micro-batch", "steps", "save", "deaths", "after"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    args.compile, args.token_bytes, args.device = False, 1, "cpu"  # what bench_torch.py asks for
    args.accumulate, args.bucket_mb = 1, 25
    return args


def note(path, word=""):
    """Adds the time, and a word that tells this start of the ranks from others."""
    with open(path, "a", encoding="ascii") as file:
        print(f"{time.time():.6f} {word}".strip(), file=file)


def count(path):
    return len(path.read_text(encoding="ascii").splitlines()) if path.exists() else 0


def join():
    """As torchrun says, with names of this start's own in its store: gloo found the ports of the start before there."""
    environment = os.environ
    store = dist.TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    store = dist.PrefixStore("start-" + environment["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group("gloo", store=store, rank=int(environment["RANK"]), world_size=int(environment["WORLD_SIZE"]))


def main():
    args = parse_args()
    torch.set_num_threads(1)
    join()
    rank = dist.get_rank()
    bare, module, optimizer = make_model(args)
    latest = args.folder / "latest"
    step = 0
    if latest.exists():
        step = int(latest.read_text(encoding="ascii"))
        model_state, optimizer_state = get_state_dict(bare, optimizer)
        state = {"model": model_state, "optimizer": optimizer_state}
        dcp.load(state, checkpoint_id=args.folder / f"step-{step}")
        set_state_dict(bare, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    source = batches(args, rank)
    started = step
    while step < args.steps:
        if rank == 1 and step - started == args.after and count(args.folder / "deaths") < args.deaths:
            note(args.folder / "deaths")
            os.kill(os.getpid(), signal.SIGKILL)
        ids, targets = next(source)
        module(ids, targets).backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if rank == 0:
            note(args.folder / "steps", str(os.getpid()))
        if step % args.save == 0:
            model_state, optimizer_state = get_state_dict(bare, optimizer)
            dcp.save({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=args.folder / f"step-{step}")
            if rank == 0:
                latest.write_text(str(step), encoding="ascii")
            dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
