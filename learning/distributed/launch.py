"""Starting the processes of a training, in three ways that all lead to torchrun's environment variables.

- ``--multiprocessing-distributed --world-size --rank --dist-url``: this process starts its node's processes with
  torch's own launcher, as ``torchrun --nnodes --node-rank`` does
- torchrun has started this process
- srun, mpirun, Kubeflow or another launcher has started this process (``environment``): as a training process, or, with
  ``--multiprocessing-distributed``, as a process of the first kind on every node
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from common import log
from common.errors import UserError
from common.names import LOCAL_URL
from common.process import INTERRUPTED, LOST_CONTACT, REQUEUE
from learning.distributed.environment import TORCHRUN, ProcessContext, find_membership, parse_dist_url
from learning.distributed.failures import SECONDS_TO_HEAR, read_cause, tell_cause
from learning.distributed.meeting import meet
from learning.distributed.process_group import choose_backend, processes_per_node
from learning.distributed.signals import exit_status, stop_listening
from options.contrast import ContrastOptions

START_METHOD = "spawn"
"""How the processes of a node are started: a forked process could not use the GPU. Tests fork, to save the imports."""


@dataclass(frozen=True)
class Launch:
    """How this process was started: as one of a group (``context``), or as the launcher of a node's processes."""

    context: ProcessContext | None = None
    n_nodes: int = 1
    node: int = 0
    n_per_node: int = 1
    dist_url: str = LOCAL_URL
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
    n_per_node = processes_per_node(options.nproc_per_node) if options.multiprocessing_distributed else 1
    by_hand = Launch(None, max(1, options.world_size), max(0, options.rank), n_per_node, options.dist_url)
    if options.multiprocessing_distributed and options.world_size >= 1 and "LOCAL_RANK" not in environment:
        return by_hand  # typed options come before the numbers of SLURM or Kubeflow
    if options.dist_url != LOCAL_URL and "MASTER_ADDR" not in environment:
        host, port = parse_dist_url(options.dist_url)
        environment = {**environment, "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    member = find_membership(environment)
    if member is None:
        return by_hand
    if member.launcher == TORCHRUN:
        if options.multiprocessing_distributed or options.world_size > 1:
            raise UserError(
                "torchrun has started this process and knows nodes and ranks: leave out --multiprocessing-distributed, "
                "--world-size, --rank and --dist-url, or start without torchrun"
            )
        return Launch(member.context, dist_url=member.url)
    url = options.dist_url if options.dist_url != LOCAL_URL else member.url
    context = member.context
    if not options.multiprocessing_distributed:
        return Launch(context, dist_url=url)
    if context.local_size > 1:
        raise UserError(
            f"{member.launcher} has started {context.local_size} tasks on this node, and --multiprocessing-distributed "
            "would start processes in each: leave it out, or start one task per node (srun --ntasks-per-node=1)"
        )
    return Launch(None, context.world_size, context.rank, n_per_node, url)


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
        start_method=START_METHOD,
    )
    log.info(f"node {launch.node} of {launch.n_nodes}: {launch.n_per_node} processes, {launch.backend}")
    # Torch's launcher would log tracebacks. The processes have printed their own sentences.
    logging.disable(logging.ERROR)
    stop_listening()  # from here on torch's launcher handles signals
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
