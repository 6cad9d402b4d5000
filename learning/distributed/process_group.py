"""The process group: how a process joins it, and what the processes exchange. They are started in ``launch``."""

from __future__ import annotations

import datetime
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from common.errors import UserError
from learning.distributed.environment import (
    ProcessContext,
    attempt,
    describe,
    environment_context,
    find_membership,
    launcher_keeps_store,
)
from learning.distributed.meeting import meet

__all__ = [
    "ProcessContext", "choose_backend", "environment_context", "from_first", "from_rank", "gather_objects",
    "gather_rows", "interface_towards", "join", "leave", "mean_over_processes", "new_group", "permute_rows",
    "processes_per_node",
]  # fmt: skip

T = TypeVar("T")

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a process waits for one that is silent; one that has died is noticed at once."""

PATIENCE = 5.0
"""Seconds to wait in silence for the other processes of a node or a torchrun, which come within that time."""

SIOCGIFADDR = 0x8915
"""Linux: the request for an interface's address."""


def processes_per_node(requested: int | None) -> int:
    """As requested, else one per GPU, and 1 on a machine without a GPU."""
    return requested or max(1, torch.cuda.device_count())


def choose_backend(requested: str | None) -> str:
    """As requested, else nccl with GPUs and gloo without; UserError for nccl where there is no GPU."""
    if requested == "nccl" and not torch.cuda.is_available():
        raise UserError("--dist-backend nccl needs a GPU and this machine shows none; leave it out, or give gloo")
    return requested or ("nccl" if torch.cuda.is_available() else "gloo")


def join(backend: str, seconds: float = 600) -> ProcessContext:
    """Joins the process group that a launcher's environment describes; without a launcher, this process works alone.

    Waits at most ``seconds`` for the other processes, prints what it waits for, and can be interrupted meanwhile.
    Afterwards the environment has torchrun's variables. Raises UserError if a process does not come.
    """
    membership = find_membership()
    if membership is None:
        return ProcessContext()
    context = membership.context
    # torchrun's store survives a restart, and so do the addresses of dead processes: each attempt has its own keys.
    prefix = f"attempt {attempt()}"
    store = meet(
        membership.url,
        context.rank,
        context.world_size,
        "processes",
        seconds=seconds,
        patience=PATIENCE,
        listen=not launcher_keeps_store(),
        attempt=prefix,
    )
    if not membership.knows_local_rank:
        context = _find_neighbours(store, context)
    describe(context, membership.url)
    if context.world_size > context.local_size and "GLOO_SOCKET_IFNAME" not in os.environ:
        interface = interface_towards(os.environ["MASTER_ADDR"])
        if interface:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
    store.set_timeout(COLLECTIVE_TIMEOUT)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(prefix, store),
        rank=context.rank,
        world_size=context.world_size,
        timeout=COLLECTIVE_TIMEOUT,
    )
    return context


def _find_neighbours(store: dist.TCPStore, context: ProcessContext) -> ProcessContext:
    """The context with the local rank, which a launcher without LOCAL_RANK does not give: by the hosts' names.

    Raises UserError if the ranks are not numbered host by host, or the hosts have different numbers of processes.
    """
    store.set(f"host {context.rank}", socket.gethostname())
    hosts = [store.get(f"host {rank}").decode() for rank in range(context.world_size)]
    own = hosts[context.rank]
    local_size = hosts.count(own)
    nodes = [hosts[first : first + local_size] for first in range(0, len(hosts), local_size)]
    if any(node != [node[0]] * local_size for node in nodes) or len({node[0] for node in nodes}) != len(nodes):
        raise UserError(
            f"the processes 0 to {context.world_size - 1} run on {', '.join(hosts)}: every host needs the same number "
            "of processes, numbered one after the other; or set LOCAL_RANK and LOCAL_WORLD_SIZE"
        )
    return ProcessContext(context.rank, context.world_size, context.rank % local_size, local_size)


def interface_towards(host: str) -> str | None:
    """The network interface on the route to ``host``, over IPv4 and on Linux; elsewhere None, and gloo decides.

    gloo's own choice is the interface of the machine's host name, which many systems resolve to 127.0.1.1.
    """
    if sys.platform != "linux":
        return None
    import fcntl  # absent on Windows, where this module must be importable

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing, but chooses the route
            own_address = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                try:
                    answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
                except OSError:  # an interface without an address
                    continue
                if socket.inet_ntoa(answer[20:24]) == own_address:
                    return name
    except OSError:
        pass
    return None


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


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The rows (n, ...) of all processes of ``group``, in the order of their ranks: (processes * n, ...)."""
    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return rows
    n_processes = dist.get_world_size(group)
    gathered = rows.new_empty((n_processes * len(rows), *rows.shape[1:]))
    dist.all_gather(list(gathered.chunk(n_processes)), rows.contiguous(), group=group)
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
