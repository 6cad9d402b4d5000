"""Starting the processes of a training, in three ways that all lead to torchrun's environment variables.

- ``--multiprocessing-distributed --world-size --rank --dist-url``: this process starts its node's processes with
  torch's own launcher, as ``torchrun --nnodes --node-rank`` does
- torchrun has started this process, with RANK, WORLD_SIZE, LOCAL_RANK, ... in its environment
- srun has started this process, one of SLURM_NTASKS: a training process, or, with ``--multiprocessing-distributed``,
  a process of the first kind on every node
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from common import log
from common.errors import UserError
from common.process import INTERRUPTED, LOST_CONTACT, REQUEUE
from learning.distributed.failures import SECONDS_TO_HEAR, read_cause, tell_cause
from learning.distributed.process_group import ProcessContext, choose_backend, environment_context, processes_per_node
from learning.distributed.signals import exit_status
from options.contrast import LOCAL_URL, ContrastOptions


@dataclass(frozen=True)
class Launch:
    """How this process was started: as one of a group (``context``), or as the launcher of a node's processes."""

    context: ProcessContext | None = None
    n_nodes: int = 1
    node: int = 0
    n_per_node: int = 1
    dist_url: str = LOCAL_URL
    by_slurm: bool = False
    backend: str = "gloo"

    @property
    def n_processes(self) -> int:
        return self.context.world_size if self.context else self.n_nodes * self.n_per_node

    @property
    def speaks(self) -> bool:
        """Whether this process prints messages meant for the whole job."""
        return self.context is None or self.context.is_first


def find_launch(options: ContrastOptions, environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started, by the environment and the options. Raises UserError for a contradiction."""
    return replace(_find_launch(options, environment), backend=choose_backend(options.dist_backend))


def _find_launch(options: ContrastOptions, environment: Mapping[str, str]) -> Launch:
    by_torchrun = environment_context()
    if by_torchrun:
        if options.multiprocessing_distributed or options.world_size > 1:
            raise UserError(
                "torchrun has started this process and knows nodes and ranks: leave out --multiprocessing-distributed, "
                "--world-size, --rank and --dist-url, or start without torchrun"
            )
        return Launch(by_torchrun)
    n_per_node = processes_per_node(options.nproc_per_node) if options.multiprocessing_distributed else 1
    if options.world_size < 1 and options.gpu is None:
        by_slurm = slurm_context(environment)
        if by_slurm:
            url = options.dist_url if options.dist_url != LOCAL_URL else slurm_url(environment)
            if not options.multiprocessing_distributed:
                return Launch(by_slurm, dist_url=url, by_slurm=True)
            if by_slurm.local_size > 1:
                raise UserError(
                    f"srun has started {by_slurm.local_size} tasks on this node, and --multiprocessing-distributed "
                    "would start processes in each: leave it out, or give srun --ntasks-per-node=1"
                )
            return Launch(None, by_slurm.world_size, by_slurm.rank, n_per_node, url, by_slurm=True)
    return Launch(None, max(1, options.world_size), max(0, options.rank), n_per_node, options.dist_url)


def slurm_context(environment: Mapping[str, str]) -> ProcessContext | None:
    """The context of this task of srun; None if SLURM has not started several tasks."""

    def number(*names: str, default: int) -> int:
        return next((int(environment[name]) for name in names if environment.get(name, "").isdecimal()), default)

    n_tasks = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", default=1)
    if n_tasks == 1 or "SLURM_PROCID" not in environment:
        return None
    n_nodes = number("SLURM_STEP_NUM_NODES", "SLURM_NNODES", default=1)
    rank, local_rank = number("SLURM_PROCID", default=0), number("SLURM_LOCALID", default=0)
    if n_tasks % n_nodes or rank % (n_tasks // n_nodes) != local_rank:
        raise UserError(
            f"srun has put {n_tasks} tasks on {n_nodes} nodes, task {rank} as number {local_rank} of its node: "
            "give --ntasks-per-node and --distribution=block, so that every node has the same number, in order"
        )
    return ProcessContext(rank, n_tasks, local_rank, n_tasks // n_nodes)


def slurm_url(environment: Mapping[str, str]) -> str:
    """Where the first task of a SLURM job listens: its node, at a port of the job's own."""
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((environment[name] for name in names if environment.get(name)), "")
    job = environment.get("SLURM_JOB_ID", environment.get("SLURM_JOBID", "0"))
    if not nodes:
        raise UserError("SLURM names no nodes (SLURM_NODELIST): give --dist-url tcp://ADDRESS:PORT of the first node")
    return f"tcp://{first_host(nodes)}:{20000 + int(job) % 10000}"


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: "gpu[03-05,09],login1" -> "gpu03"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first.group() if first else nodes)


def parse_dist_url(url: str) -> tuple[str, int]:
    """ "tcp://host:port" -> (host, port); UserError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "tcp":
        raise UserError(f"--dist-url {url}: expected tcp://ADDRESS:PORT, for example tcp://10.0.0.1:29500")
    return host, port


def _check_port_is_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"--dist-url tcp://{host}:{port}: this node, --rank 0, cannot listen there ({error.strerror}); "
                "give an address of this machine and a free port, the same on every node"
            ) from None


def meet(url: str, rank: int, count: int, what: str, same: str, seconds: float) -> dist.TCPStore:
    """Waits until ``count`` nodes (or processes: ``what``) are at ``url``, where number 0 listens.

    Says what it waits for, and for how long at most; ``same`` must be the same text in all. Returns the store in which
    they have met, which lives as long as it is kept. Raises UserError when the time is over, or for a number that came
    twice.
    """
    host, port = parse_dist_url(url)
    deadline = time.monotonic() + seconds
    address = f"{host}:{port}"
    if rank == 0:
        _check_port_is_free(host, port)
        store = dist.TCPStore(host, port, is_master=True, wait_for_workers=False, multi_tenant=True)
    else:
        store = _reach(host, port, rank, what, deadline)
    try:
        if store.add(f"{what} {rank}", 1) > 1:
            raise UserError(
                f"number {rank} of the {count} {what} has come to {address} twice: give each its own --rank"
            )
        if store.compare_set("same", "", same).decode() != same:
            first = store.get("same").decode()
            raise UserError(f"{what} {rank} differs from the first that came: {same} here, {first} there")
        n_absent = 0
        while absent := [other for other in range(count) if not store.check([f"{what} {other}"])]:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{len(absent)} of {count} {what} have not come to {address} within {seconds:.0f} s: "
                    f"number {', '.join(map(str, absent))}; start them, or raise --join-timeout"
                )
            if len(absent) != n_absent and (rank == 0 or what == "nodes"):
                n_absent = len(absent)
                print(f"waiting for {n_absent} of {count} {what} at {address}", flush=True)
            time.sleep(0.2)
    except dist.DistError as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"the first of the {what}, at {address}, has gone while others were waited for: {reason}"
        ) from None
    return store


def _reach(host: str, port: int, rank: int, what: str, deadline: float) -> dist.TCPStore:
    """A client of the first one's store, when that is there."""
    said = False
    began = time.monotonic()
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return dist.TCPStore(host, port, is_master=False, wait_for_workers=False)
        except (OSError, dist.DistError) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"nobody has listened at {host}:{port} within {deadline - began:.0f} s ({error}): is number 0 of "
                    f"the {what} running, is the address its own, and does a firewall let number {rank} through?"
                ) from None
        if not said:
            print(f"waiting for the first of the {what} at {host}:{port}", flush=True)
            said = True
        time.sleep(0.5)


def enter_slurm_group(context: ProcessContext, dist_url: str, seconds: float) -> dist.TCPStore:
    """Waits for all tasks of the job step, and sets the environment variables that torchrun would set.

    Returns the store in which they have met. It must be kept while they train: the other ranks connect to rank 0's.
    """
    host, port = parse_dist_url(dist_url)
    try:
        store = meet(dist_url, context.rank, context.world_size, "processes", "", seconds)
    except UserError as error:
        raise UserError(f"{error} (under SLURM, every process is started by srun)") from None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = (context.rank, context.world_size, context.local_rank, context.local_size, host, port)
    os.environ.update(zip(names, map(str, values), strict=True))
    return store


def start_node(work: Callable, arguments: tuple, launch: Launch, same: str = "", seconds: float = 600) -> int:
    """Runs ``work(*arguments)`` in the processes of this node, and returns the exit status.

    Waits for the other nodes, at most ``seconds``; ``same`` must be equal on all nodes. The status is 0 when all
    processes of all nodes are done, and their own status when a signal asked them to stop. When a process fails, the
    others are ended, and UserError is raised.
    """
    host, port = parse_dist_url(launch.dist_url)
    same = f"--world-size {launch.n_nodes}, {launch.n_per_node} processes per node{same}"
    store = meet(launch.dist_url, launch.node, launch.n_nodes, "nodes", same, seconds)
    config = LaunchConfig(
        min_nodes=launch.n_nodes,
        max_nodes=launch.n_nodes,
        nproc_per_node=launch.n_per_node,
        run_id="re-iqa",
        rdzv_backend="static",
        rdzv_endpoint=f"{host}:{port}",
        rdzv_configs={"rank": launch.node, "timeout": int(seconds)},
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    log.info(f"node {launch.node} of {launch.n_nodes}: {launch.n_per_node} processes, {launch.backend}")
    # Torch's launcher would log tracebacks. The processes have printed their own sentences.
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGUSR1, _as_launcher_signals)
    try:
        elastic_launch(config, work)(*arguments)
    except SignalException as error:
        return exit_status(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in (REQUEUE, INTERRUPTED):
            return failure.exitcode
        sentence = _share_cause(rank, failure.exitcode, failure.pid, launch, store)
        raise UserError(f"{sentence}; --resume auto continues from the last checkpoint") from None
    return 0


def _as_launcher_signals(number: int, _: object) -> None:
    """Makes torch's launcher treat SIGUSR1 like SIGTERM: pass it on, and wait for the processes to end."""
    raise SignalException("", signal.Signals(number))


def _share_cause(rank: int, status: int, pid: int, launch: Launch, store: dist.TCPStore) -> str:
    """A sentence on the root cause of a failure: this node's, which the other nodes are told, or another node's."""
    name = f"process {rank} on {socket.gethostname()} (node {launch.node}, pid {pid})"
    if status == LOST_CONTACT:
        cause = read_cause(store, SECONDS_TO_HEAR)
        sentence = f"this node's processes have stopped: {cause or 'contact with another node was lost'}"
    else:
        if status < 0:
            by = signal.Signals(-status).name
            hint = "; by the system when memory runs out, see its log (dmesg)" if by == "SIGKILL" else ""
            sentence = f"{name} was ended by {by}{hint}"
        else:
            sentence = f"{name} ended with status {status}; the others were stopped"
        tell_cause(store, sentence)
    if launch.node == 0 and launch.n_nodes > 1:
        time.sleep(SECONDS_TO_HEAR)  # this process holds the store in which the other nodes read the cause
    return sentence
