"""``python -m benchmarks.step``: the training step on this machine's CPU, against the plain one.

Plain is what a first script would do with the same networks, queue and batches: float32, channels first, the loss from
concatenated logits, LARS and the moving average parameter by parameter. Its losses must be ours. The random crops of
the batches are the same for all.
"""

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learning.building import to_unit_range
from learning.distributed import NodeShuffle, Place
from learning.lars import LARS
from learning.moco import KeyQueue, MoCo, contrastive_loss
from networks import ContrastiveNetwork

TEMPERATURE = 0.2
MOMENTUM = 0.999
LEARNING_RATE = 0.3
WEIGHT_DECAY = 1e-4
QUEUE_LENGTH = 65536
FEAT_DIM = 128

Step = Callable[[Tensor], float]
"""One training step on uint8 crops (N, 6, P, P); returns the loss."""


def plain_step(network: nn.Module, memory: Tensor) -> Step:
    """The textbook's step in float32, channels first; changes ``network`` and ``memory``, (K, C)."""
    key_network = copy.deepcopy(network)
    momenta = [torch.zeros_like(p) for p in network.parameters()]
    position = 0

    def step(crops: Tensor) -> float:
        nonlocal position
        query_images, key_images = (crops.float() / 255).split(3, dim=1)
        queries = network(query_images.contiguous())
        with torch.no_grad():
            keys = key_network(key_images.contiguous())
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ memory.T], dim=1) / TEMPERATURE
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p, m in zip(network.parameters(), momenta, strict=True):
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


def our_step(network: nn.Module, memory: Tensor, amp: bool, updates: list[float]) -> Step:
    """The step of ``learning.trainer`` from the same start; appends the seconds of each update to ``updates``."""
    query_network, key_network = (copy.deepcopy(network).to(memory_format=torch.channels_last) for _ in range(2))
    queue = KeyQueue(len(memory), FEAT_DIM)
    queue.memory.copy_(memory)
    moco = MoCo(query_network, key_network, queue, TEMPERATURE, MOMENTUM, to_unit_range, NodeShuffle(Place()))
    optimizer = LARS(query_network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(crops: Tensor) -> float:
        query_crops, key_crops = crops.split(3, dim=1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            logits, keys = moco.contrast(query_crops, key_crops, 0)
        loss = contrastive_loss(logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        began = time.perf_counter()
        optimizer.step()
        moco.advance(keys)
        updates.append(time.perf_counter() - began)
        return loss.item()

    return step


def start(arch: str, amp: bool | None, updates: list[float]) -> Step:
    """The plain step (``amp`` None) or ours, all from the same weights and queue."""
    torch.manual_seed(0)
    network = ContrastiveNetwork(arch, "mlp", FEAT_DIM).train()
    memory = KeyQueue(QUEUE_LENGTH, FEAT_DIM).memory
    return plain_step(network, memory) if amp is None else our_step(network, memory, amp, updates)


def random_batches(n_batches: int, n_crops: int, size: int) -> list[Tensor]:
    """uint8 (N, 6, P, P): coarse random pictures, and as keys the same with noise."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(n_batches):
        coarse = F.interpolate(torch.rand(n_crops, 3, size // 16, size // 16, generator=generator), size=(size, size))
        noise = [0.1 * torch.randn(n_crops, 3, size, size, generator=generator) for _ in range(2)]
        batches.append((255 * torch.cat([coarse + n for n in noise], dim=1)).clamp(0, 255).to(torch.uint8))
    return batches


VARIANTS = {"plain float32 NCHW": None, "ours float32": False, "ours --amp": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=24, help="pairs of crops in a timed step: one image's chunk")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each kind, after one to warm up")
    parser.add_argument("--loss_steps", type=int, default=20, help="steps over which losses are compared; 0: none")
    parser.add_argument("--loss_crops", type=int, default=8, help="pairs of crops in those")
    parser.add_argument("--patch_size", type=int, default=160)
    parser.add_argument("--arch", default="resnet50")
    options = parser.parse_args()

    threads = torch.get_num_threads()
    print(f"one step, {options.arch}, {options.crops} pairs of {options.patch_size} pixels, {threads} threads")
    print(f"{'':20s}{'seconds':>9s}{'ratio':>7s}{'update':>9s}{'share':>7s}")
    batches = random_batches(options.steps + 1, options.crops, options.patch_size)
    updates = {name: [] for name in VARIANTS}
    steps = {name: start(options.arch, amp, updates[name]) for name, amp in VARIANTS.items()}
    seconds = {name: [] for name in VARIANTS}
    for batch in batches:  # in turns, since a shared machine is faster at times
        for name, step in steps.items():
            began = time.perf_counter()
            step(batch)
            seconds[name].append(time.perf_counter() - began)
    fastest = {name: min(times[1:]) for name, times in seconds.items()}
    plain = fastest["plain float32 NCHW"]
    for name, best in fastest.items():
        line = f"{name:20s}{best:9.3f}{plain / best:6.2f}x"
        if updates[name]:
            update = min(updates[name][1:])
            line += f"{update:9.4f}{update / best:7.1%}"
        print(line)

    if not options.loss_steps:
        return
    batches = random_batches(options.loss_steps, options.loss_crops, options.patch_size)
    losses = {}
    for name, amp in VARIANTS.items():
        step = start(options.arch, amp, [])
        losses[name] = torch.tensor([step(batch) for batch in batches], dtype=torch.float64)
    print(f"\nloss over {options.loss_steps} steps of {options.loss_crops} pairs: largest relative difference to plain")
    reference = losses["plain float32 NCHW"]
    for name, values in losses.items():
        difference = ((values - reference).abs() / reference).max().item()
        print(f"{name:20s}{difference:10.1e}   ({values[0]:.4f} ... {values[-1]:.4f})")


if __name__ == "__main__":
    main()
