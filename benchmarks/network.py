"""``python -m benchmarks.step --network N``: what a training step sends, and how a slow network slows it down.

N ranks run in network namespaces, joined by a bridge, as the processes of one node, so that also the key crops of the
shuffle cross the wire. The bytes computed from shapes are compared with the counters of the interfaces, and a token
bucket (``tc``) limits the rate at which each rank sends. Needs root and iproute2.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.table import Row
from common.errors import UserError
from learning.contrastive.batches import Position
from learning.contrastive.setup import build_learner
from learning.contrastive.trainer import train_steps
from learning.distributed.process_group import join
from networks import ContrastiveNetwork
from options.contrast import parse_contrast_options

IMAGES = 2
"""Images of a rank, each with ``2 * (n_aug + 1)`` pairs of crops."""

RATES = ("10gbit", "1gbit", "100mbit")
MEGA = 1e6


class Traffic(NamedTuple):
    """Bytes that a rank sends in a step, by shapes."""

    gradients: float
    key_crops: float
    keys: float
    statistics: float

    @property
    def total(self) -> float:
        return sum(self)


def traffic(arch: str, n_crops: int, size: int, n_ranks: int, local_size: int, feat_dim: int = 128) -> Traffic:
    """The mean of the ranks. A ring sends (N - 1)/N of the gradients twice, and each rank's keys to all other ranks.

    The shuffle sends each key crop, and later its key, to one rank of the node: L - 1 times of L to another one.
    """
    elsewhere = (local_size - 1) / local_size
    network = ContrastiveNetwork(arch, "mlp", feat_dim)
    gradients = 4 * sum(p.numel() for p in network.parameters())
    statistics = sum(b.numel() * b.element_size() for b in network.buffers())
    return Traffic(
        gradients=2 * (n_ranks - 1) / n_ranks * gradients,
        key_crops=elsewhere * n_crops * 3 * size**2,
        keys=(n_ranks - 1 + elsewhere) * n_crops * feat_dim * 4,
        statistics=(n_ranks - 1) / n_ranks * statistics,
    )


def _sent() -> int:
    """Bytes that eth0 of this namespace has sent."""
    (line,) = (line for line in Path("/proc/self/net/dev").read_text().splitlines() if "eth0:" in line)
    return int(line.split(":")[1].split()[8])


def run_rank(arch: str, size: int, n_steps: int, bf16: bool) -> None:
    """One rank, as its environment says; prints seconds and bytes of each step as JSON."""
    torch.set_num_threads(1)
    context = join("gloo", 120)
    text = f"--method MoCov2 --arch {arch} --nce_k 4096 --patch_size {size} --n_aug 2 --n_scale 2 --csv_path none"
    options = parse_contrast_options([*text.split(), *["--bf16_gradients"] * bf16])
    learner = build_learner(options, context, torch.device("cpu"))
    generator = torch.Generator().manual_seed(context.rank)
    crops: Tensor = torch.randint(0, 256, (IMAGES, 6, 6, size, size), dtype=torch.uint8, generator=generator)
    batches = itertools.repeat((crops, torch.empty(IMAGES, 6, 0)), n_steps + 1)
    steps = train_steps(options, learner, batches, Position(), n_steps + 1, torch.device("cpu"))
    measured = []
    for _ in range(n_steps + 1):
        dist.barrier()
        before, began = _sent(), time.perf_counter()
        next(steps)
        dist.barrier()
        measured.append((time.perf_counter() - began, _sent() - before))
    print(json.dumps(measured[1:]), flush=True)
    dist.destroy_process_group()


def measure(hosts: list[str], rate: str | None, arch: str, size: int, n_steps: int, bf16: bool) -> tuple[float, float]:
    """(seconds of the fastest step, bytes that a rank sends in a step, the mean) at ``rate``, None: unlimited."""
    for host in hosts:
        inside = ["ip", "netns", "exec", host]
        subprocess.run([*inside, "tc", "qdisc", "delete", "dev", "eth0", "root"], capture_output=True)
        if rate:
            bucket = ["root", "tbf", "rate", rate, "burst", "1mb", "latency", "200ms"]
            subprocess.run([*inside, "tc", "qdisc", "add", "dev", "eth0", *bucket], check=True)
    worker = [sys.executable, "-m", "benchmarks.network", arch, str(size), str(n_steps), str(int(bf16))]
    address = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "eth0"}
    same = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(len(hosts)), "LOCAL_WORLD_SIZE": str(len(hosts))} | address
    ranks = [
        subprocess.Popen(
            ["ip", "netns", "exec", host, *worker],
            env=os.environ | same | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, host in enumerate(hosts)
    ]
    try:
        outputs = [rank.communicate(timeout=600)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    if any(rank.returncode for rank in ranks):
        raise UserError(f"a rank failed; the ranks printed {outputs}")
    steps = [json.loads(output.splitlines()[-1]) for output in outputs]
    seconds = min(max(seconds for seconds, _ in step) for step in zip(*steps, strict=True))
    sent = sum(sent for rank in steps for _, sent in rank) / n_steps / len(hosts)
    return seconds, sent


def rows(n_ranks: int, arch: str, size: int, n_steps: int) -> Iterator[Row]:
    """Bytes of a step against the counters, then the step at each rate, then the paper's run by its bytes."""
    from tests.namespaces import NoNamespaces, namespaces

    n_crops = IMAGES * 6
    expected = traffic(arch, n_crops, size, n_ranks, n_ranks)
    yield Row(f"{n_ranks} ranks, {arch}, each {n_crops} pairs of {size}: a rank sends", "per step")
    for name, count in zip(Traffic._fields, expected, strict=True):
        yield Row(f"  {name.replace('_', ' ')}", f"{count / MEGA:.2f} MB")
    try:
        with namespaces(n_ranks) as hosts:
            plain, sent = measure(hosts, None, arch, size, n_steps, bf16=False)
            ratio = f"{sent / expected.total:.3f}"
            counted = f"counters, {sent / MEGA:.2f} MB"
            yield Row("  in all", f"{expected.total / MEGA:.2f} MB", counted, ratio, "1 to 1.1")
            yield Row("step, rate not limited", f"{plain:.2f} s")
            _, sent_bf16 = measure(hosts, None, arch, size, n_steps, bf16=True)
            saved = f"{sent_bf16 / sent:.2f}"
            yield Row("  bfloat16 gradients: a rank sends", f"{sent_bf16 / MEGA:.2f} MB", "float32", saved)
            for rate in RATES:
                seconds, _ = measure(hosts, rate, arch, size, n_steps, bf16=False)
                unlimited = f"not limited, {plain:.2f} s"
                yield Row(f"step at {rate}", f"{seconds:.2f} s", unlimited, f"{seconds / plain:.2f}")
                half, _ = measure(hosts, rate, arch, size, n_steps, bf16=True)
                yield Row("  bfloat16 gradients", f"{half:.2f} s", f"float32, {seconds:.2f} s", f"{half / seconds:.2f}")
    except NoNamespaces as error:
        raise UserError(str(error)) from None
    yield from paper_rows()


def paper_rows() -> Iterator[Row]:
    """The paper's run, 6 nodes of 7 GPUs and 630 images per step: what a node sends, and the seconds that takes."""
    n_crops = 15 * 24
    rank = traffic("resnet50", n_crops, 160, n_ranks=42, local_size=7)
    keys = 41 * n_crops * 128 * 4
    # A ring through all ranks, node by node, leaves each node once.
    total = rank.gradients + rank.statistics + keys
    yield Row("ResNet-50, 6 nodes of 7, 630 images: a node sends", f"{total / MEGA:.0f} MB")
    yield Row("  of it gradients", f"{rank.gradients / MEGA:.0f} MB")
    for rate, bits in zip(RATES, (1e10, 1e9, 1e8), strict=True):
        saved = total - rank.gradients / 2
        yield Row(f"  at {rate}", f"{8 * total / bits:.2f} s", f"bfloat16 gradients, {8 * saved / bits:.2f} s")
    yield Row("  key crops, within a node, by each rank", f"{rank.key_crops / MEGA:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="one rank of python -m benchmarks.step --network")
    parser.add_argument("arch")
    parser.add_argument("size", type=int)
    parser.add_argument("n_steps", type=int)
    parser.add_argument("bf16", type=int)
    options = parser.parse_args()
    run_rank(options.arch, options.size, options.n_steps, bool(options.bf16))


if __name__ == "__main__":
    main()
