"""Momentum contrast: Algorithm 1 of MoCo (He et al., CVPR 2020) with the head of MoCo v2 (Chen et al. 2020).

Names are those of Algorithm 1. Shapes: N crops in this process, R processes, C values of an embedding, K keys in the
queue.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from common.names import NEGATIVES
from learning.distributed.environment import ProcessContext
from learning.distributed.process_group import COLLECTIVE_TIMEOUT, gather_rows


class KeyQueue(nn.Module):
    """The dictionary of keys: a ring of K unit vectors in which the newest replace the oldest.

    Starts with random vectors that depend on ``seed`` alone, so they are the same in every process.
    """

    memory: Tensor

    def __init__(self, length: int, feat_dim: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("memory", F.normalize(torch.randn(length, feat_dim, generator=generator), dim=1))  # KxC
        self.position = 0  # of the oldest key

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Overwrites the oldest entries with ``keys``, (n, C), in order. If n > K, only the last K keys are kept."""
        end = self.position + len(keys)
        kept = keys[-len(self.memory) :]
        self.memory[torch.arange(end - len(kept), end, device=keys.device) % len(self.memory)] = kept.to(self.memory)
        self.position = end % len(self.memory)


class NodeShuffle:
    """Shuffled BatchNorm (He et al. 2020, section 3.3) over the processes of a node.

    Without it, the network could recognise a key by the BatchNorm statistics that the key shares with its query.
    At each step the processes of a node apply one random permutation, drawn from (seed, step), to all their key
    crops, and the inverse permutation to the keys.
    """

    def __init__(self, context: ProcessContext, seed: int = 0):
        self.context = context
        self._seed = seed
        self._group: dist.ProcessGroup | None = None
        if context.local_size > 1:
            self._group, _ = dist.new_subgroups(context.local_size, timeout=COLLECTIVE_TIMEOUT)

    def shuffle(self, crops: Tensor, step: int) -> Tensor:
        """This process's crops (N, ...) -> N crops of the whole node."""
        if self._group is None:
            return crops
        order = self._permutation(self.context.local_size * len(crops), step)
        return gather_rows(crops, self._group)[order.chunk(self.context.local_size)[self.context.local_rank]]

    def unshuffle(self, keys: Tensor, step: int) -> Tensor:
        """All processes' keys (RN)xC of shuffled crops -> the keys in the order of the crops before the shuffle."""
        if self._group is None:
            return keys
        of_node = keys.view(self.context.n_nodes, -1, keys.shape[1])
        return of_node[:, self._permutation(of_node.shape[1], step).argsort()].flatten(0, 1)

    def _permutation(self, n_rows: int, step: int) -> Tensor:
        """A permutation of all ``n_rows`` rows of a node."""
        return torch.from_numpy(np.random.default_rng((self._seed, step)).permutation(n_rows))


class MoCo(nn.Module):
    """The query network f_q, its momentum (EMA) copy f_k, and the queue of past keys.

    ``query_network`` (N images -> NxC unit vectors, and logits of levels, (N, levels)) is trained by gradients.
    ``key_network`` starts equal to it and follows it as an exponential moving average with coefficient ``momentum``.
    ``prepare`` turns uint8 crops (N, 3, P, P) into the networks' input. ``node`` exchanges the key crops between the
    processes of a node. ``negatives`` is one of NEGATIVES. With "queue" the negatives are keys of earlier steps. The
    keys of other versions of the query's image belong to the current step, so they are not negatives.

    A training step is ``forward``, backward pass and optimiser step, ``advance``.
    """

    def __init__(
        self,
        query_network: nn.Module,
        key_network: nn.Module,
        queue: KeyQueue,
        temperature: float,
        momentum: float,
        prepare: Callable[[Tensor], Tensor],
        node: NodeShuffle,
        negatives: str = "queue",
    ):
        super().__init__()
        if negatives not in NEGATIVES:
            raise ValueError(f"unknown negatives '{negatives}'; one of {', '.join(NEGATIVES)}")
        self.f_q = query_network
        self.f_k = key_network
        self.queue = queue
        self.T = temperature
        self.m = momentum
        self.negatives = negatives
        self._prepare = prepare
        self._node = node
        self._parameters_q: list[Tensor] = list(query_network.parameters())
        self._parameters_k: list[Tensor] = list(key_network.parameters())
        for parameter in self._parameters_k:
            parameter.requires_grad_(False)
        with torch.no_grad():
            for value_k, value_q in zip(self.f_k.state_dict().values(), self.f_q.state_dict().values(), strict=True):
                value_k.copy_(value_q)

    def forward(self, x_q: Tensor, x_k: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query and key crops, uint8 (N, 3, P, P) -> logits, the keys of all processes (RN)xC, and level logits.

        The logits are Nx(1+K) with the negatives "queue", Nx(1+K+RN) with "queue+batch"; the positive is class 0.
        ``advance`` takes the keys after the optimiser's step. ``step`` counts the steps of the run; the shuffle depends
        on it. The level logits, (N, levels), are those of the queries.
        """
        q, level_logits = self.f_q(self._prepare(x_q))  # NxC
        k = self.embed_keys(x_k, step)  # (RN)xC
        # Outside autocast: a half-precision product divided by T = 0.07 is off by several percent of a nat.
        with torch.autocast(q.device.type, enabled=False):
            return self.logits(q, k), k, level_logits

    @torch.no_grad()
    def embed_keys(self, x_k: Tensor, step: int) -> Tensor:
        """Key crops, uint8 (N, 3, P, P) -> all processes' keys (RN)xC, without gradient and with shuffled BatchNorm."""
        k, _ = self.f_k(self._prepare(self._node.shuffle(x_k, step)))
        return self._node.unshuffle(gather_rows(k), step)

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """Queries NxC and the keys of all processes (RN)xC -> [q.k+, q.queue] / T, Nx(1+K).

        With the negatives "queue+batch" the result is [q.k+, q.queue, q.k] / T, Nx(1+K+RN). A query's positive key is
        not a negative, so its logit in the part q.k is minus infinity.
        """
        own = torch.arange(len(q), device=q.device) + self._node.context.rank * len(q)  # rows of the positive keys
        l_pos = (q * k[own]).sum(dim=1, keepdim=True)  # Nx1
        l_neg = q @ self.queue.memory.T  # NxK
        logits = [l_pos, l_neg]
        if self.negatives == "queue+batch":
            logits.append((q @ k.T).scatter(1, own[:, None], -torch.inf))  # Nx(RN)
        return torch.cat(logits, dim=1) / self.T

    @torch.no_grad()
    def advance(self, k: Tensor) -> None:
        """After the optimiser's step: f_k <- m f_k + (1 - m) f_q, and all processes' keys, (RN)xC, enter the queue.

        Call this after the backward pass: the gradient of the logits needs the queue unchanged.
        """
        torch._foreach_lerp_(self._parameters_k, self._parameters_q, 1 - self.m)
        self.queue.enqueue(k)


def contrastive_loss(logits: Tensor) -> Tensor:
    """Cross-entropy with the positive, class 0 (InfoNCE; He et al. 2020, equation 1)."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def level_loss(logits: Tensor, reached: Tensor) -> Tensor:
    """Binary cross-entropies, summed over the levels of all kinds and averaged over the N images.

    ``logits`` and ``reached`` (0 or 1) are (N, levels). As in ordinal regression, the levels of a kind are ordered: an
    image with a strong level has also reached the milder ones. An image may have several kinds.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), reached.float(), reduction="none")
    return losses.sum(dim=1).mean()


def accuracy(logits: Tensor) -> Tensor:
    """Top-1 accuracy of the contrastive task in percent: how often the positive outscores all negatives."""
    return 100 * (logits.argmax(dim=1) == 0).float().mean()
