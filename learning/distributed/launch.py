"""Starting the processes of a training, in three ways that all lead to torchrun's environment variables.

- ``--multiprocessing-distributed --world-size --rank --dist-url``: this process starts its node's processes
- torchrun has started this process
- srun, Kubeflow or a script has started this process (``environment``): as a training process, or, with
  ``--multiprocessing-distributed``, as a process of the first kind on every node
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch.multiprocessing import ProcessExitedException, start_processes

from common import log
from common.errors import UserError
from common.names import LOCAL_URL
from common.process import INTERRUPTED, LOST_CONTACT, REQUEUE, note_signals, noted_signal, signals_delayed
from learning.distributed.environment import TORCHRUN, find_membership, parse_dist_url, set_address
from learning.distributed.process_group import ProcessContext
from learning.distributed.rendezvous import wait_for_all
from options.contrast import ContrastOptions

START_METHOD = "spawn"
"""How the processes of a node are started: a forked process could not use the GPU. Tests fork, to save the imports."""

GRACE = 10.0
"""Seconds in which the processes of a node end by themselves after one has failed; then they are terminated."""


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
    def prints(self) -> bool:
        """Whether this process prints messages meant for the whole job."""
        return self.context is None or self.context.is_first


def find_launch(options: ContrastOptions, environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started, by the environment and the options. Raises UserError for a contradiction."""
    with_gpu = torch.cuda.is_available()
    if options.dist_backend == "nccl" and not with_gpu:
        raise UserError("--dist-backend nccl needs a GPU and this machine shows none; leave it out, or give gloo")
    starts_others = options.multiprocessing_distributed
    by_hand = Launch(
        n_nodes=max(1, options.world_size),
        node=max(0, options.rank),
        n_per_node=(options.nproc_per_node or max(1, torch.cuda.device_count())) if starts_others else 1,
        dist_url=options.dist_url,
        backend=options.dist_backend or ("nccl" if with_gpu else "gloo"),
    )
    if starts_others and options.world_size >= 1 and "LOCAL_RANK" not in environment:
        return by_hand  # typed options come before the numbers of SLURM or Kubeflow
    if options.dist_url != LOCAL_URL and "MASTER_ADDR" not in environment:
        host, port = parse_dist_url(options.dist_url)
        environment = {**environment, "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    member = find_membership(environment)
    if member is None:
        return by_hand
    context = member.context
    if member.launcher == TORCHRUN and (starts_others or options.world_size > 1):
        raise UserError(
            "torchrun has started this process and knows nodes and ranks: leave out --multiprocessing-distributed, "
            "--world-size, --rank and --dist-url, or start without torchrun"
        )
    if starts_others and context.local_size > 1:
        raise UserError(
            f"{member.launcher} has started {context.local_size} tasks on this node, and --multiprocessing-distributed "
            "would start processes in each: leave it out, or start one task per node (srun --ntasks-per-node=1)"
        )
    typed_url = options.dist_url != LOCAL_URL and member.launcher != TORCHRUN
    url = options.dist_url if typed_url else member.url
    if starts_others:
        return replace(by_hand, n_nodes=context.world_size, node=context.rank, dist_url=url)
    return replace(by_hand, context=context, n_nodes=1, node=0, dist_url=url)


def start_node(work: Callable, arguments: tuple, launch: Launch, same: str = "", seconds: float = 600) -> int:
    """Runs ``work(*arguments)`` in the processes of this node, and returns the exit status.

    Waits for the other nodes, at most ``seconds``; ``same`` must be equal on all nodes. A signal is passed on. The
    status is 0 when the processes are done, and their own status when a signal asked them to stop. When a process
    fails, the others of the node are ended, and UserError is raised.
    """
    same = f"--world-size {launch.n_nodes}, {launch.n_per_node} processes per node{same}"
    store = wait_for_all(launch.dist_url, launch.node, launch.n_nodes, "nodes", seconds, same)
    log.info(f"node {launch.node} of {launch.n_nodes}: {launch.n_per_node} processes, {launch.backend}")
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)  # it would warn of each process that it ends
    note_signals(True)
    with signals_delayed():
        ranks = start_processes(
            _run_rank, (launch, work, arguments), launch.n_per_node, join=False, start_method=START_METHOD
        )
    passed_on = 0
    try:
        while not ranks.join(0.2, GRACE):
            if passed_on != noted_signal():
                passed_on = noted_signal()
                for pid in ranks.pids():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, passed_on)
    except ProcessExitedException as failure:
        status = failure.exit_code
        if status in (REQUEUE, INTERRUPTED):
            return status
        rank = launch.node * launch.n_per_node + failure.error_index
        name = f"process {rank} on {socket.gethostname()} (node {launch.node}, pid {failure.error_pid})"
        if status == LOST_CONTACT:
            sentence = "this node's processes have stopped, since a process of another node has ended"
        elif status < 0:
            hint = "; by the system when memory runs out, see its log (dmesg)" if -status == signal.SIGKILL else ""
            sentence = f"{name} was ended by {signal.Signals(-status).name}{hint}"
        else:
            sentence = f"{name} ended with status {status}; the others were stopped"
        raise UserError(f"{sentence}; --resume auto continues from the last checkpoint") from None
    except KeyboardInterrupt:  # a second Ctrl-C
        for process in ranks.processes:
            process.kill()
        raise
    del store  # the ranks meet in it too
    return 0


def _run_rank(local_rank: int, launch: Launch, work: Callable, arguments: tuple) -> None:
    """The life of a process of the node."""
    set_address(launch.dist_url)
    os.environ.update(
        RANK=str(launch.node * launch.n_per_node + local_rank),
        WORLD_SIZE=str(launch.n_processes),
        LOCAL_RANK=str(local_rank),
        LOCAL_WORLD_SIZE=str(launch.n_per_node),
        TORCHELASTIC_USE_AGENT_STORE="True",  # the processes meet where the nodes have met
    )
    work(*arguments)
