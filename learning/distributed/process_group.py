"""The process group: how the processes of a job find each other, and what they exchange.

torch's own rendezvous waits inside a C++ call, without a word and deaf to signals. ``join`` prints what it waits for,
for a limited time, and can be interrupted.
"""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar, cast

import torch.distributed as dist
from torch import Tensor

from common import log
from learning.distributed.environment import Membership, ProcessContext, parse_dist_url
from networks.errors import UserError

T = TypeVar("T")

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a process waits for one that is silent; one that has died is noticed at once."""

PATIENCE = 3.0
"""Seconds to wait in silence for the other processes, since those of one launcher come within that time."""

SECONDS_BETWEEN_REPORTS = 60
STORE_TIMEOUT = datetime.timedelta(seconds=30)

REPLACED = (
    "; if torchrun has replaced a node, it must run with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of "
    "every node"
)
"""What may be wrong when the processes are to meet in torchrun's own store."""


def join(membership: Membership | None, backend: str, seconds: float = 600) -> ProcessContext:
    """Joins the other processes of a job in a process group; without a ``membership``, this process works alone.

    Waits at most ``seconds`` for the other processes, prints what it waits for, and can be interrupted meanwhile.
    Raises UserError if a process does not come.
    """
    if membership is None:
        return ProcessContext()
    context = membership.context
    n = context.world_size
    store = wait_for_all(membership.url, context.rank, n, "processes", seconds, restarts=membership.restarts)
    store.set_timeout(COLLECTIVE_TIMEOUT)
    if context.n_nodes > 1 and "GLOO_SOCKET_IFNAME" not in os.environ:
        interface = interface_towards(parse_dist_url(membership.url)[0])
        if interface:
            os.environ["GLOO_SOCKET_IFNAME"] = interface
    dist.init_process_group(backend, store=store, rank=context.rank, world_size=n, timeout=COLLECTIVE_TIMEOUT)
    return context


def interface_towards(host: str) -> str | None:
    """The network interface on the route to ``host``, over IPv4; None where there is none, and gloo decides.

    gloo's own choice is the interface of the machine's host name, which many systems resolve to 127.0.1.1.
    """
    import psutil  # takes a moment, which one process alone does not need

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing, but chooses the route
            own_address = probe.getsockname()[0]
    except OSError:
        return None
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, found in interfaces if own_address in [one.address for one in found]), None)


def wait_for_all(
    url: str, number: int, count: int, what: str, seconds: float, same: str = "", restarts: int | None = None
) -> dist.Store:
    """Waits until ``count`` nodes (or processes: ``what``) are at ``url``, where number 0 listens.

    Prints what it waits for, every minute. ``same`` must be the same text in all. With ``restarts`` the launcher
    itself listens there, and its store outlives a restart: each restart has keys of its own, so a number may come
    again. Returns the store, which lives as long as it is referenced. Raises UserError when ``seconds`` are over, or
    for a number that comes twice.
    """
    host, port = parse_dist_url(url)
    address = f"{host}:{port}"
    began = time.monotonic()
    reported, due = "", began + PATIENCE

    def pause(for_what: str, failure: str) -> None:
        nonlocal reported, due
        now = time.monotonic()
        if now - began > seconds:
            raise UserError(failure) from None
        if now > due or (reported and for_what != reported):
            so_far = f" ({now - began:.0f} s so far, at most {seconds:.0f} s)" if reported else ""
            log.info(f"waiting for {for_what}{so_far}")
            reported, due = for_what, now + SECONDS_BETWEEN_REPORTS
        time.sleep(0.05 if now - began < 5 else 0.2)

    tcp_store = _listen(host, port, what) if number == 0 and restarts is None else None
    while tcp_store is None:
        try:
            socket.create_connection((host, port), timeout=5).close()
            tcp_store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT)
        except (OSError, dist.DistError) as error:  # noqa: PERF203
            pause(
                f"number 0 of the {what} to listen at {address}",
                f"nobody has listened at {address} within {seconds:.0f} s ({error}): is number 0 of the {what} "
                f"running, is the address its own, and does a firewall let number {number} through?",
            )
    store = dist.PrefixStore(f"{what} after {restarts or 0} restarts", tcp_store)
    try:
        if store.add(f"{number}", 1) > 1 and restarts is None:
            raise UserError(
                f"number {number} of the {count} {what} has come to {address} twice: give each its own --rank"
            )
        first = store.compare_set("same", "", same).decode()
        if first != same:
            raise UserError(f"{what} {number} differs from the first that came: {same} here, {first} there")
        while absent := [str(other) for other in range(count) if not store.check([f"{other}"])]:
            pause(
                f"{len(absent)} of {count} {what} at {address}",
                f"{len(absent)} of {count} {what} have not come to {address} within {seconds:.0f} s: number "
                f"{', '.join(absent)}; start them, or raise --join-timeout" + ("" if restarts is None else REPLACED),
            )
    except dist.DistError as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"number 0 of the {what}, at {address}, has ended before all had come: {reason}") from None
    return store


def _listen(host: str, port: int, what: str) -> dist.TCPStore:
    """The store of number 0. Raises UserError if this machine cannot listen at the address."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A cluster's MASTER_ADDR may be the name of a service, which leads here and is no address of this machine.
            probe.bind((host if what == "nodes" else "", port))
        return dist.TCPStore(
            host, port, is_master=True, wait_for_workers=False, multi_tenant=True, timeout=STORE_TIMEOUT
        )
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise UserError(
            f"tcp://{host}:{port}: number 0 cannot listen there ({reason}); give an address of this machine and a free "
            "port, the same on every node (--dist-url, or MASTER_ADDR and MASTER_PORT)"
        ) from None


def leave() -> None:
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def from_first(make: Callable[[], T], context: ProcessContext) -> T:
    """Calls ``make`` in rank 0 alone and returns its result in every process."""
    made = [make() if context.is_first else None]
    if dist.is_initialized():
        dist.broadcast_object_list(made, src=0)
    return cast(T, made[0])


def gather_objects(own: T, context: ProcessContext) -> list[T]:
    """The objects of all processes, in the order of their ranks, in every process."""
    gathered = [own] * context.world_size
    if context.world_size > 1:
        dist.all_gather_object(gathered, own)
    return gathered


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The rows (n, ...) of all processes, or those of ``group``, in the order of their ranks: (processes * n, ...)."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    n_processes = dist.get_world_size(group)
    gathered = rows.new_empty((n_processes * len(rows), *rows.shape[1:]))
    dist.all_gather(list(gathered.chunk(n_processes)), rows.contiguous(), group)
    return gathered
