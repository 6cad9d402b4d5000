"""Processes: one's place among them, and what they tell each other. How they are started is in ``launching``."""

from __future__ import annotations

import datetime
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from common.errors import UserError

T = TypeVar("T")

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a process waits for one that is silent; one that has died is noticed at once."""

SIOCGIFADDR = 0x8915  # Linux: an interface's address


@dataclass(frozen=True)
class ProcessContext:
    """This process's place: rank of world_size in all, local_rank of local_size on its node."""

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
    """The place that a launcher (torchrun, or ``start_node``) has given this process; None where there was none."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return None
    return ProcessContext(*(int(os.environ[name]) for name in names))


def processes_per_node(requested: int | None) -> int:
    """One per GPU, or as requested; 1 on a machine without a GPU."""
    return requested or max(1, torch.cuda.device_count())


def choose_backend(requested: str | None) -> str:
    """nccl with GPUs and gloo without, or as requested; UserError for nccl where there is no GPU."""
    if requested == "nccl" and not torch.cuda.is_available():
        raise UserError("--dist-backend nccl needs a GPU and this machine shows none; leave it out, or give gloo")
    return requested or ("nccl" if torch.cuda.is_available() else "gloo")


def join(backend: str) -> ProcessContext:
    """Joins the process group that the environment describes; alone where it describes none."""
    context = environment_context()
    if context is None:
        return ProcessContext()
    if context.world_size > context.local_size and "GLOO_SOCKET_IFNAME" not in os.environ:
        interface = interface_towards(os.environ["MASTER_ADDR"])
        if interface:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
    # torchrun's store outlives its restarts, and with it the addresses of processes that are gone.
    store, rank, world_size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
    return context


def interface_towards(host: str) -> str | None:
    """The network interface on the way to ``host``, over IPv4 and on Linux; else None, and gloo decides.

    By itself gloo takes the one that the machine's own name leads to, which many systems resolve to 127.0.1.1.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing: asks for the way
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
    if dist.is_initialized():
        dist.destroy_process_group()


def from_first(make: Callable[[], T], context: ProcessContext) -> T:
    """What ``make`` gives in the first process, in every process; made once."""
    made = [make() if context.is_first else None]
    if dist.is_initialized():
        dist.broadcast_object_list(made, src=0)
    return made[0]


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


class NodeShuffle:
    """Shuffled BatchNorm (He et al. 2020, section 3.3) over the processes of a node.

    BatchNorm would let the encoder recognise a key by the statistics that it shares with its query. So the key
    crops change places: at each step all processes of the node apply one random permutation, drawn from
    (seed, step), to all their crops together, and the keys go back by its inverse.
    """

    def __init__(self, context: ProcessContext, seed: int = 0):
        self._local_rank = context.local_rank
        self._local_size = context.local_size
        self._seed = seed
        self._group = None
        if context.local_size > 1:
            # Every process must take part in the making of every group.
            nodes = range(context.world_size // context.local_size)
            members = [range(node * context.local_size, (node + 1) * context.local_size) for node in nodes]
            self._group = [dist.new_group(list(ranks), timeout=COLLECTIVE_TIMEOUT) for ranks in members][context.node]

    def _permutation(self, n_rows: int, step: int) -> np.ndarray:
        return np.random.default_rng((self._seed, step)).permutation(self._local_size * n_rows)

    def _own(self, order: np.ndarray, n_rows: int, device: torch.device) -> Tensor:
        return torch.from_numpy(order[self._local_rank * n_rows : (self._local_rank + 1) * n_rows]).to(device)

    def scatter(self, crops: Tensor, step: int) -> Tensor:
        """This process's crops (N, ...) -> N crops of the whole node."""
        if self._group is None:
            return crops
        order = self._own(self._permutation(len(crops), step), len(crops), crops.device)
        return gather_rows(crops, self._group)[order]

    def restore(self, keys: Tensor, step: int) -> Tensor:
        """The keys (N, C) of scattered crops -> the keys of this process's own crops, in their order."""
        if self._group is None:
            return keys
        inverse = np.argsort(self._permutation(len(keys), step))
        return gather_rows(keys, self._group)[self._own(inverse, len(keys), keys.device)]
