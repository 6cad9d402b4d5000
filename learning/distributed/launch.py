"""Starting the processes of a training, in three ways that all lead to a ``Membership`` for each process.

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
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.multiprocessing import ProcessExitedException, start_processes

from common import log
from common.names import LOCAL_URL
from common.process import INTERRUPTED, LOST_CONTACT, REQUEUE, note_signals, noted_signal, signals_delayed
from learning.distributed.environment import TORCHRUN, Membership, ProcessContext, find_membership, parse_dist_url
from learning.distributed.exits import Train, run_rank
from learning.distributed.process_group import wait_for_all
from networks.errors import UserError
from options.contrast import ContrastOptions

START_METHOD = "spawn"
"""How the processes of a node are started: a forked process could not use the GPU. Tests fork, to save the imports."""

GRACE = 10.0
"""Seconds in which the processes of a node end by themselves after one has failed; then they are terminated."""


def choose_backend(options: ContrastOptions) -> str:
    """The backend of torch.distributed. Raises UserError for nccl without a GPU."""
    with_gpu = torch.cuda.is_available()
    if options.dist_backend == "nccl" and not with_gpu:
        raise UserError("--dist-backend nccl needs a GPU and this machine shows none; leave it out, or give gloo")
    return options.dist_backend or ("nccl" if with_gpu else "gloo")


def find_launch(options: ContrastOptions, environment: Mapping[str, str] = os.environ) -> Membership | None:
    """This process as a member of a training, by the environment and the options; None if it trains alone.

    With ``--multiprocessing-distributed``, the first of the processes that this process starts. Raises UserError for a
    contradiction.
    """
    starts_others, by_torchrun = options.multiprocessing_distributed, "LOCAL_RANK" in environment
    member = None
    if not starts_others or options.world_size < 1 or by_torchrun:  # typed nodes come before those of SLURM or Kubeflow
        if options.dist_url != LOCAL_URL and not (by_torchrun and "MASTER_ADDR" in environment):
            host, port = parse_dist_url(options.dist_url)
            environment = {**environment, "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        member = find_membership(environment)
    if member and member.launcher == TORCHRUN and (starts_others or options.world_size > 1):
        raise UserError(
            "torchrun has started this process and knows nodes and ranks: leave out --multiprocessing-distributed, "
            "--world-size, --rank and --dist-url, or start without torchrun"
        )
    if not starts_others:
        return member
    if member and member.context.local_size > 1:
        raise UserError(
            f"{member.launcher} has started {member.context.local_size} tasks on this node, and "
            "--multiprocessing-distributed would start processes in each: leave it out, or start one task per node "
            "(srun --ntasks-per-node=1)"
        )
    typed = ProcessContext(max(0, options.rank), max(1, options.world_size))
    node, url = (member.context, member.url) if member else (typed, options.dist_url)
    n = options.nproc_per_node or max(1, torch.cuda.device_count())
    # The processes meet in the store in which the nodes have met, as those of torchrun may.
    return Membership("this command", ProcessContext(node.rank * n, node.world_size * n, 0, n), url, restarts=0)


def start_node(train: Train, options: ContrastOptions, backend: str, first: Membership) -> int:
    """Runs ``train`` in the processes of this node, and returns the exit status.

    ``first`` is this node's first process. Waits for the other nodes, whose options must agree. A signal is passed on.
    The status is 0 when the processes are done, and their own status when a signal asked them to stop. When a process
    fails, the others of the node are ended, and UserError is raised.
    """
    node, n_nodes, n_ranks = first.context.node, first.context.n_nodes, first.context.local_size
    same = f"--world-size {n_nodes}, {n_ranks} processes per node, {options.run_name}, --seed {options.seed}"
    store = wait_for_all(first.url, node, n_nodes, "nodes", options.join_timeout, same)
    log.info(f"node {node} of {n_nodes}: {n_ranks} processes, {backend}")
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)  # it would warn of each process that it ends
    note_signals(True)
    with signals_delayed():
        ranks = start_processes(
            _run_rank, (train, options, backend, first), n_ranks, join=False, start_method=START_METHOD
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
        rank = first.context.rank + failure.error_index
        name = f"process {rank} on {socket.gethostname()} (node {node}, pid {failure.error_pid})"
        if status == LOST_CONTACT:
            sentence = "this node's processes have stopped, since a process of another node has ended"
        elif status < 0:
            hint = "; by the system when memory runs out, see its log (dmesg)" if -status == signal.SIGKILL else ""
            sentence = f"{name} was ended by {signal.Signals(-status).name}{hint}"
        else:
            # It has printed its own error: continuing may be no remedy.
            raise UserError(f"{name} ended with status {status}; the others were stopped") from None
        raise UserError(f"{sentence}; --resume auto continues from the last checkpoint") from None
    except KeyboardInterrupt:  # a second Ctrl-C
        for process in ranks.processes:
            process.kill()
        raise
    del store  # the ranks meet in it too
    return 0


def _run_rank(local_rank: int, train: Train, options: ContrastOptions, backend: str, first: Membership) -> None:
    """The life of a process of the node."""
    context = replace(first.context, rank=first.context.rank + local_rank, local_rank=local_rank)
    run_rank(train, options, backend, replace(first, context=context))
