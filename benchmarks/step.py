"""``python -m benchmarks.step``: the training step on this machine's CPU, against the plain one.

The plain step is a first script's, with the same networks, queue and batches: float32, channels first, the loss from
concatenated logits, LARS and the moving average parameter by parameter. All steps get the same random crops, so their
losses must be equal. Training amplifies a rounding of the last bit; for comparison, a plain step is shown whose weights
are changed by as much (the tests compare in float64).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.table import Row, print_table
from learning.contrastive.lars import LARS
from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle, contrastive_loss
from learning.distributed.environment import ProcessContext
from networks import ContrastiveNetwork
from networks.encoder import to_input

TEMPERATURE = 0.2
MOMENTUM = 0.999
LEARNING_RATE = 0.3
WEIGHT_DECAY = 1e-4
QUEUE_LENGTH = 65536
FEAT_DIM = 128

Step = Callable[[Tensor], float]
"""One training step on uint8 crops (N, 6, P, P); returns the loss."""


class Variant(NamedTuple):
    """A kind of step: ours or the plain one, and how it computes."""

    name: str
    ours: bool = True
    amp: bool = False
    dtype: torch.dtype = torch.float32
    aim: str = ""


PLAIN = Variant("plain float32, NCHW", ours=False)
FLOAT32 = Variant("float32")
AMP = Variant("--amp", amp=True, aim="at least 1.8")

PLAIN_FLOAT64 = Variant("plain float64", ours=False, dtype=torch.float64)
FLOAT64 = Variant("float64", dtype=torch.float64)


def plain_step(network: nn.Module, memory: Tensor) -> Step:
    """The textbook's step in float32, channels first; changes ``network`` and ``memory``, (K, C)."""
    key_network = copy.deepcopy(network)
    momenta = [torch.zeros_like(p) for p in network.parameters()]
    position = 0

    def step(crops: Tensor) -> float:
        nonlocal position
        query_images, key_images = (crops.float() / 255).to(memory.dtype).split(3, dim=1)
        queries, _ = network(query_images.contiguous())
        with torch.no_grad():
            keys, _ = key_network(key_images.contiguous())
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ memory.T], dim=1) / TEMPERATURE
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p, m in zip(network.parameters(), momenta, strict=True):
                assert p.grad is not None, "every parameter has a part in the loss"
                update = p.grad
                if p.ndim > 1:
                    update = update + WEIGHT_DECAY * p
                    update = update * (0.001 * p.norm() / update.norm())
                m.mul_(0.9).add_(update)
                p.sub_(LEARNING_RATE * m)
            for k, q in zip(key_network.parameters(), network.parameters(), strict=True):
                k.mul_(MOMENTUM).add_((1 - MOMENTUM) * q)
            memory[position : position + len(keys)] = keys
            position = (position + len(keys)) % len(memory)
        return loss.item()

    return step


def our_step(network: nn.Module, memory: Tensor, variant: Variant, updates: list[float]) -> Step:
    """The step of ``contrastive.trainer`` from the same start; appends the seconds of each update to ``updates``."""
    query_network, key_network = (copy.deepcopy(network).to(memory_format=torch.channels_last) for _ in range(2))
    queue = KeyQueue(len(memory), FEAT_DIM).to(variant.dtype)
    queue.memory.copy_(memory)

    def prepare(crops: Tensor) -> Tensor:
        return to_input(crops, normalized=False).to(variant.dtype)

    moco = MoCo(query_network, key_network, queue, TEMPERATURE, MOMENTUM, prepare, NodeShuffle(ProcessContext()))
    optimizer = LARS(query_network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(crops: Tensor) -> float:
        query_crops, key_crops = crops.split(3, dim=1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=variant.amp):
            logits, keys, _ = moco(query_crops, key_crops, 0)
        loss = contrastive_loss(logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        began = time.perf_counter()
        optimizer.step()
        moco.advance(keys)
        updates.append(time.perf_counter() - began)
        return loss.item()

    return step


def start(
    arch: str, variant: Variant, updates: list[float], queue_length: int = QUEUE_LENGTH, nudge: float = 0
) -> Step:
    """A step of that kind; all kinds start from the same queue and the same weights, but for the share ``nudge``."""
    torch.manual_seed(0)
    network = ContrastiveNetwork(arch, "mlp", FEAT_DIM).train().to(variant.dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + nudge)
    memory = KeyQueue(queue_length, FEAT_DIM).memory.to(variant.dtype)
    return our_step(network, memory, variant, updates) if variant.ours else plain_step(network, memory)


def random_batches(n_batches: int, n_crops: int, size: int) -> list[Tensor]:
    """uint8 (N, 6, P, P): coarse random pictures, and as keys the same with noise."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(n_batches):
        coarse = F.interpolate(torch.rand(n_crops, 3, size // 16, size // 16, generator=generator), size=(size, size))
        noise = [0.1 * torch.randn(n_crops, 3, size, size, generator=generator) for _ in range(2)]
        batches.append((255 * torch.cat([coarse + n for n in noise], dim=1)).clamp(0, 255).to(torch.uint8))
    return batches


def speed_rows(arch: str, size: int, n_crops: int, n_steps: int, variants: Sequence[Variant]) -> Iterator[Row]:
    """The fastest of ``n_steps`` of each kind, in turns, since a shared machine is faster at times."""
    kinds = (PLAIN, *variants)
    updates: dict[Variant, list[float]] = {kind: [] for kind in kinds}
    steps = {kind: start(arch, kind, updates[kind]) for kind in kinds}
    seconds: dict[Variant, list[float]] = {kind: [] for kind in kinds}
    for batch in random_batches(n_steps + 1, n_crops, size):
        for kind, step in steps.items():
            began = time.perf_counter()
            step(batch)
            seconds[kind].append(time.perf_counter() - began)
    plain = min(seconds[PLAIN][1:])
    for kind in variants:
        best, update = min(seconds[kind][1:]), min(updates[kind][1:])
        what = f"step, {arch}, {n_crops} pairs of {size}, {kind.name}"
        yield Row(what, f"{best:.2f} s", f"{PLAIN.name}, {plain:.2f} s", f"{plain / best:.2f}", kind.aim)
        yield Row("  of it LARS and momentum update", f"{update:.3f} s", "the step", f"{update / best:.1%}", "under 5%")


def loss_rows(arch: str, size: int, n_crops: int, n_steps: int) -> Iterator[Row]:
    """How far the losses of the first ``n_steps`` are from those of the plain step, in all."""
    batches = random_batches(n_steps, n_crops, size)

    def losses(kind: Variant, nudge: float = 0) -> np.ndarray:
        step = start(arch, kind, [], nudge=nudge)
        return np.array([step(batch) for batch in batches])

    def largest_difference(values: np.ndarray, plain: np.ndarray) -> str:
        return f"{(np.abs(values - plain) / plain).max():.1e}"

    plain = losses(PLAIN)
    what = f"loss of {n_steps} steps, {arch}, {n_crops} pairs of {size}, "
    compared = f"plain, weights times 1 + 1e-7, {largest_difference(losses(PLAIN, nudge=1e-7), plain)}"
    yield Row(what + "differs by", largest_difference(losses(FLOAT32), plain), compared, aim="at most 1e-4")
    yield Row("  with --amp", largest_difference(losses(AMP), plain), aim="at most 2e-2")


def rows() -> Iterator[Row]:
    """Both, at the sizes of the project's table."""
    yield from speed_rows("resnet50", 160, n_crops=24, n_steps=4, variants=(FLOAT32, AMP))
    yield from loss_rows("resnet50", 96, n_crops=8, n_steps=20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=24, help="pairs of crops in a timed step: one image's chunk")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each kind, after one to warm up")
    parser.add_argument("--loss_steps", type=int, default=20, help="steps over which losses are compared; 0: none")
    parser.add_argument("--loss_crops", type=int, default=8, help="pairs of crops in those")
    parser.add_argument("--loss_patch_size", type=int, default=96)
    parser.add_argument("--patch_size", type=int, default=160)
    parser.add_argument("--arch", default="resnet50")
    options = parser.parse_args()
    measured = [speed_rows(options.arch, options.patch_size, options.crops, options.steps, (FLOAT32, AMP))]
    if options.loss_steps:
        measured.append(loss_rows(options.arch, options.loss_patch_size, options.loss_crops, options.loss_steps))
    print_table(itertools.chain(*measured))


if __name__ == "__main__":
    main()
