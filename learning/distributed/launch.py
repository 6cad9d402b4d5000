"""How the processes of a training start and end.

Three ways of starting lead to a ``Membership`` for each process:

- ``--multiprocessing-distributed --world-size --rank --dist-url``: this process starts its node's processes
- torchrun has started this process
- srun, Kubeflow or a script has started this process (``environment``): as a training process, or, with
  ``--multiprocessing-distributed``, as a process of the first kind on every node

A rank ends on a signal after the same step as all, and on a failure with a sentence where it happens. The exit status
is 1 for a failure, ``LOST_CONTACT`` after another process's failure, and after a signal 130 (Ctrl-C) or ``REQUEUE``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import resource_tracker

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException, start_processes

from common import log
from common.names import LOCAL_URL
from common.process import (
    HANGUP,
    INTERRUPTED,
    LOST_CONTACT,
    REQUEUE,
    Stopped,
    answer_signals,
    exit_at_once,
    explain_system_error,
    note_signals,
    noted_signal,
    signals_delayed,
    stop_status,
)
from learning.distributed.environment import TORCHRUN, Membership, ProcessContext, find_membership, parse_dist_url
from learning.distributed.process_group import COLLECTIVE_TIMEOUT, wait_for_all
from networks.errors import UserError
from options.contrast import ContrastOptions

Train = Callable[[ContrastOptions, str, Membership | None], None]
"""A training by its options, over a backend, as a member of a job."""

START_METHOD = "spawn"
"""How the processes of a node are started: a forked process could not use the GPU. Tests fork, to save the imports."""

GRACE = 10.0
"""Seconds in which the processes of a node end by themselves after one has failed; then they are terminated."""

OWN_ERROR = re.compile(
    "ncclUnhandledCudaError|ncclInvalid|ncclInternalError|shared memory|No space left|[Uu]nable to (find|resolve)"
)
"""What NCCL and gloo say where the fault is with this process or its machine."""


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
    if not starts_others:
        return member
    if member and (member.launcher == TORCHRUN or member.context.local_size > 1):
        raise UserError(
            f"{member.launcher} has started {member.context.local_size} processes on this node and knows nodes and "
            "ranks: leave out --multiprocessing-distributed, --world-size, --rank and --dist-url, or start one task "
            "per node without torchrun (srun --ntasks-per-node=1)"
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
            _run_local_rank, (train, options, backend, first), n_ranks, join=False, start_method=START_METHOD
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
        if status > 0:
            # It has printed its own error: continuing may be no remedy.
            raise UserError(f"{name} ended with status {status}; the others were stopped") from None
        hint = "; by the system when memory runs out, see its log (dmesg)" if -status == signal.SIGKILL else ""
        name += f" was ended by {signal.Signals(-status).name}"
        raise UserError(f"{name}{hint}; --resume auto continues from the last checkpoint") from None
    except KeyboardInterrupt:  # a second Ctrl-C
        for process in ranks.processes:
            process.kill()
        raise
    del store  # the ranks meet in it too
    return 0


def _run_local_rank(local_rank: int, train: Train, options: ContrastOptions, backend: str, first: Membership) -> None:
    """The life of a process of the node."""
    context = replace(first.context, rank=first.context.rank + local_rank, local_rank=local_rank)
    run_rank(train, options, backend, replace(first, context=context))


def exit_on_signals() -> None:
    """Makes signals raise Stopped in this process, until a ``StopRequest`` only notes them: nothing is to be saved yet.

    Starts Python's resource tracker such that it survives a signal to all processes, and ends without warnings.
    """
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    answer_signals(keep_ignored=(HANGUP,))  # a script's ``main_contrast.py &`` can be stopped by SIGINT
    with signals_delayed():
        resource_tracker.ensure_running()


class StopRequest:
    """Has signals only noted from its construction on. A second Ctrl-C still raises Stopped at once."""

    def __init__(self) -> None:
        self._group: dist.ProcessGroup | None = None
        if dist.is_initialized():
            # A group of its own, of all processes: with NCCL's, every check would wait for the GPU.
            self._group, _ = dist.new_subgroups(dist.get_world_size(), timeout=COLLECTIVE_TIMEOUT, backend="gloo")
        note_signals(True)

    def agreed(self) -> int:
        """The signal that any process has received, the same number in every process; 0 if there was none."""
        received = torch.tensor(noted_signal())
        if self._group is not None:
            dist.all_reduce(received, dist.ReduceOp.MAX, self._group)
        return int(received)

    def obey(self, number: int, when: str = "") -> None:
        """Raises Stopped for a signal, once all processes have arrived: no launcher ends rank 0 while it writes."""
        if not number:
            return
        if self._group is not None:
            dist.barrier(self._group)
        raise Stopped(number, when)


def run_rank(train: Train, options: ContrastOptions, backend: str, member: Membership | None) -> None:
    """Runs ``train`` as the whole work of this process. Returns only when it succeeds; else the process exits."""
    context = member.context if member else ProcessContext()
    log.set_quiet(context.local_rank != 0)  # each node reports which processes it waits for
    try:
        exit_on_signals()
        train(options, backend, member)
    except KeyboardInterrupt as interrupt:
        note_signals(True)  # nothing interrupts the end
        stop = interrupt if isinstance(interrupt, Stopped) else Stopped(signal.SIGINT)
        if context.is_first:
            log.error(str(stop) if stop.when else f"{stop} before the first step")
        exit_at_once(stop_status(stop.number))
    except Exception as error:
        stopping = noted_signal()
        note_signals(True)
        name = f"process {context.rank} on {socket.gethostname()}: " if context.world_size > 1 else ""
        if lost_contact(error):
            time.sleep(1)  # a launcher must find the process that has failed before those that only follow
            if context.local_rank == 0 and not stopping:
                log.error(f"{name}stopped, since another process has ended: " + str(error).split("\n")[0])
            exit_at_once(stop_status(stopping) if stopping else LOST_CONTACT)
        sentence = error.sentence if isinstance(error, UserError) else explain(error)
        if sentence is None:
            traceback.print_exc()
            sentence = f"{type(error).__name__}: {error}"
        log.error(name + sentence)
        exit_at_once(1)


def lost_contact(error: BaseException) -> bool:
    """Whether an error means that another process is gone: gloo's and NCCL's errors have no type in common.

    An error of this process's own may have the same types: only its text tells.
    """
    text = str(error)
    return (
        not OWN_ERROR.search(text)
        and isinstance(error, RuntimeError)
        and (isinstance(error, dist.DistError) or "gloo/" in text or "Gloo" in text or "NCCL" in text)
    )


def explain(error: BaseException) -> str | None:
    """A sentence with a remedy for an error that a person can fix, else None.

    Recognised by its text, since torch raises RuntimeError for all of them.
    """
    text = " ".join(str(error).split())
    shared_memory = "shared memory" in text or "(shm)" in text or "Bus error" in text or "torch_shm" in text
    if shared_memory or ("unable to write to file" in text and "No space" in text):
        return (
            "the shared memory (/dev/shm), through which data workers hand over their batches, is too small: enlarge "
            "it (docker run --shm-size=16g), or use fewer workers (-j), or none (-j 0)"
        )
    if "DataLoader worker" in text or isinstance(error, ConnectionError | EOFError):  # of the pipe from a worker
        signal_name = re.search(r"killed by signal: (\w+)", text)
        how = f"was ended by a signal ({signal_name.group(1)})" if signal_name else "ended unexpectedly"
        return f"a data worker {how}; if memory ran out, the system did that (see dmesg): use fewer workers (-j)"
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text.split('. ')[0]}: the GPU's memory is too small; lower --batch_size or give --amp"
    return explain_system_error(error)
