"""Momentum contrast (MoCo: He et al., CVPR 2020, Algorithm 1; v2: Chen et al. 2020).

Shapes: N crops in this process, C values of an embedding, K keys in the queue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from learning.distributed.process_group import NodeShuffle, gather_rows


class KeyQueue(nn.Module):
    """The dictionary of keys: a ring of K unit vectors in which the oldest make room for the newest.

    Starts with random vectors, the same for the same ``seed``, hence the same in every process.
    """

    def __init__(self, length: int, feat_dim: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("memory", F.normalize(torch.randn(length, feat_dim, generator=generator), dim=1))  # KxC
        self.position = 0

    def __len__(self) -> int:
        return len(self.memory)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Writes ``keys``, (n, C), over the oldest entries, in order; of more than K keys the last K stay."""
        skipped = max(0, len(keys) - len(self))
        start = (self.position + skipped) % len(self)
        keys = keys[skipped:]
        before_wrap = min(len(keys), len(self) - start)
        self.memory[start : start + before_wrap] = keys[:before_wrap]
        self.memory[: len(keys) - before_wrap] = keys[before_wrap:]
        self.position = (start + len(keys)) % len(self)


class MoCo:
    """The query network, its slowly moving copy, and the queue of what that copy saw before.

    ``query_network`` (N images -> NxC unit vectors) is trained by gradients. ``key_network`` starts equal to it
    and follows it as an exponential moving average with coefficient ``momentum``. ``prepare`` turns uint8 crops
    (N, 3, P, P) into what the networks take. ``shuffle`` exchanges the key crops between the node's processes.
    """

    def __init__(
        self,
        query_network: nn.Module,
        key_network: nn.Module,
        queue: KeyQueue,
        temperature: float,
        momentum: float,
        prepare: Callable[[Tensor], Tensor],
        shuffle: NodeShuffle,
    ):
        self.query_network = query_network
        self.key_network = key_network
        self.queue = queue
        self.temperature = temperature
        self.momentum = momentum
        self.prepare = prepare
        self.shuffle = shuffle
        self._query_parameters = list(query_network.parameters())
        self._key_parameters = list(key_network.parameters())
        for parameter in self._key_parameters:
            parameter.requires_grad_(False)
        with torch.no_grad():
            for key, query in zip(key_network.state_dict().values(), query_network.state_dict().values(), strict=True):
                key.copy_(query)

    def embed_keys(self, crops: Tensor, step: int) -> Tensor:
        """uint8 crops (N, 3, P, P) -> keys NxC, with the BatchNorm statistics of other crops than the queries'."""
        with torch.no_grad():
            keys = self.key_network(self.prepare(self.shuffle.scatter(crops, step)))
            return self.shuffle.restore(keys, step)

    def logits(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[q.k+, q.queue] / T, Nx(1+K); the positive is class 0."""
        positive = (queries * keys).sum(dim=1, keepdim=True)  # Nx1
        negative = queries @ self.queue.memory.T  # NxK
        return torch.cat([positive, negative], dim=1) / self.temperature

    def contrast(self, query_crops: Tensor, key_crops: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The logits Nx(1+K) of a batch and its keys NxC, which ``advance`` takes after the optimiser's step."""
        queries = self.query_network(self.prepare(query_crops))
        keys = self.embed_keys(key_crops, step)
        # Outside autocast: a half-precision product with T = 0.07 is off by several percent of a nat.
        with torch.autocast(queries.device.type, enabled=False):
            return self.logits(queries, keys), keys

    @torch.no_grad()
    def advance(self, keys: Tensor) -> None:
        """After the optimiser's step: moves the key network, and all processes' ``keys`` into the queue.

        The queue waits until then because the gradient of the logits needs it as it was.
        """
        torch._foreach_lerp_(self._key_parameters, self._query_parameters, 1 - self.momentum)
        self.queue.enqueue(gather_rows(keys))

    def share_statistics(self) -> None:
        """Gives every process the first one's BatchNorm statistics, which is also what the first one saves.

        They play no part in training, where BatchNorm uses the batch's own, and drift apart between processes: the key
        network's all the time, the query network's, of which DDP takes care, since the last step.
        """
        if dist.is_initialized():
            for buffer in (*self.query_network.buffers(), *self.key_network.buffers()):
                dist.broadcast(buffer, src=0)

    def digest(self) -> str:
        """A short name for all weights and the queue: equal where, and only where, they are equal bit for bit."""
        states = (self.query_network.state_dict(), self.key_network.state_dict(), self.queue.state_dict())
        total = hashlib.sha256()
        for state in states:
            for value in state.values():
                total.update(value.cpu().contiguous().numpy().data)
        return total.hexdigest()[:12]


def contrastive_loss(logits: Tensor) -> Tensor:
    """Cross-entropy with the positive, class 0 (InfoNCE; He et al. 2020, equation 1)."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def accuracy(logits: Tensor) -> Tensor:
    """Top-1 accuracy of the contrastive task, percent: how often the positive outscores all K negatives."""
    return 100 * (logits.argmax(dim=1) == 0).float().mean()
