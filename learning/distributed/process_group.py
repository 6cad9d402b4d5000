"""This process among the processes of a job, and what they exchange. How they are started is in ``launch``."""

from __future__ import annotations

import datetime
import os
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from common.errors import UserError

T = TypeVar("T")

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a process waits for one that is silent; one that has died is noticed at once."""

SIOCGIFADDR = 0x8915
"""Linux: the request for an interface's address."""


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


def environment_context() -> ProcessContext | None:
    """The context that a launcher (torchrun, or ``start_node``) has given this process; None without a launcher."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return None
    return ProcessContext(*(int(os.environ[name]) for name in names))


def processes_per_node(requested: int | None) -> int:
    """As requested, else one per GPU, and 1 on a machine without a GPU."""
    return requested or max(1, torch.cuda.device_count())


def choose_backend(requested: str | None) -> str:
    """As requested, else nccl with GPUs and gloo without; UserError for nccl where there is no GPU."""
    if requested == "nccl" and not torch.cuda.is_available():
        raise UserError("--dist-backend nccl needs a GPU and this machine shows none; leave it out, or give gloo")
    return requested or ("nccl" if torch.cuda.is_available() else "gloo")


def join(backend: str) -> ProcessContext:
    """Joins the process group that the environment describes; without one, this process works alone."""
    context = environment_context()
    if context is None:
        return ProcessContext()
    if context.world_size > context.local_size and "GLOO_SOCKET_IFNAME" not in os.environ:
        interface = interface_towards(os.environ["MASTER_ADDR"])
        if interface:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
    store, rank, world_size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    # torchrun's store survives a restart, and so do the addresses of dead processes: each attempt has its own keys.
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
    return context


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
    made = [make() if context.is_first else None]
    if dist.is_initialized():
        dist.broadcast_object_list(made, src=0)
    return cast(T, made[0])


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The rows (n, ...) of all processes of ``group``, in the order of their ranks: (processes * n, ...)."""
    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return rows
    n_processes = dist.get_world_size(group)
    gathered = rows.new_empty((n_processes * len(rows), *rows.shape[1:]))
    dist.all_gather(list(gathered.chunk(n_processes)), rows.contiguous(), group=group)
    return gathered


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of ``values`` over all processes, in every process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
