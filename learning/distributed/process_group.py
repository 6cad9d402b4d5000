"""The process group: what this process is among the others, and what they exchange. ``rendezvous`` makes it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a process waits for one that is silent; one that has died is noticed at once."""


@dataclass(frozen=True)
class ProcessContext:
    """This process's rank among all ``world_size`` processes, and among the ``local_size`` of its node."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes files and prints."""
        return self.rank == 0

    @property
    def node(self) -> int:
        return self.rank // self.local_size


def leave() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def new_group(ranks: list[int] | None = None, backend: str | None = None) -> dist.ProcessGroup | None:
    """A group of ``ranks`` (default: all); None if this process is not in it. Every process must call this."""
    group = dist.new_group(ranks, timeout=COLLECTIVE_TIMEOUT, backend=backend)
    return group if isinstance(group, dist.ProcessGroup) else None


def from_first(make: Callable[[], T], context: ProcessContext) -> T:
    """Calls ``make`` in rank 0 alone and returns its result in every process."""
    return from_rank(0, make, context)


def from_rank(rank: int, make: Callable[[], T], context: ProcessContext) -> T:
    """Calls ``make`` in ``rank`` alone and returns its result in every process."""
    made = [make() if context.rank == rank else None]
    if dist.is_initialized():
        dist.broadcast_object_list(made, src=rank)
    return cast(T, made[0])


def gather_objects(own: T, context: ProcessContext) -> list[T]:
    """The objects of all processes, in the order of their ranks, in every process."""
    gathered = [own] * context.world_size
    if context.world_size > 1:
        dist.all_gather_object(gathered, own)
    return gathered


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, in the order of their ranks: (processes * n, ...)."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    n_processes = dist.get_world_size()
    gathered = rows.new_empty((n_processes * len(rows), *rows.shape[1:]))
    dist.all_gather(list(gathered.chunk(n_processes)), rows.contiguous())
    return gathered


def permute_rows(rows: Tensor, order: np.ndarray, group: dist.ProcessGroup | None = None) -> Tensor:
    """This process's part of the rows of all processes of ``group``, put into a new ``order``.

    ``rows`` is (n, ...) in each of the P processes. ``order``, (P n,), is a permutation of their P n rows, the same in
    every process. Rank r gets the rows order[r n : (r + 1) n]. Each row is sent to one process only.
    """
    n, rank = len(rows), dist.get_rank(group)
    wanted = order.reshape(-1, n)  # by each process
    owner = wanted // n
    sent = [wanted_by[owner_of == rank] - rank * n for wanted_by, owner_of in zip(wanted, owner, strict=True)]
    outgoing = rows[torch.from_numpy(np.concatenate(sent)).to(rows.device)]
    incoming = torch.empty_like(outgoing)
    n_received = np.bincount(owner[rank], minlength=len(wanted)).tolist()
    dist.all_to_all_single(incoming, outgoing, n_received, [len(part) for part in sent], group=group)
    permuted = torch.empty_like(incoming)
    # Rows arrive in the order of their owners, and those of one owner in the order in which they are wanted.
    permuted[torch.from_numpy(np.argsort(owner[rank], kind="stable")).to(rows.device)] = incoming
    return permuted


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of ``values`` over all processes, in every process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
