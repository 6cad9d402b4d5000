"""This process's rank among the processes of its job, from the environment variables that launchers set.

| launcher | variables |
|---|---|
| torchrun, ``launch.start_node`` | RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT |
| Kubeflow's PyTorchJob, hand-made scripts | RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT |
| SLURM's srun | SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_NNODES, SLURM_NODELIST |
| mpirun of Open MPI, MVAPICH, MPICH, Intel MPI | OMPI_COMM_WORLD_*, MV2_COMM_WORLD_*, PMI_RANK, PMI_SIZE |

No other module reads these variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import UserError
from common.names import LOCAL_URL

TORCHRUN = "torchrun"

MPI_LAUNCHERS = {
    "mpirun (Open MPI)": (
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpirun (MVAPICH)": (
        "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpiexec (PMI)": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}  # fmt: skip
"""Variables of each: rank, number of processes, and the same on the node."""


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


@dataclass(frozen=True)
class Membership:
    """This process as a member of a job: which launcher started it, its context, and where rank 0 listens."""

    launcher: str
    context: ProcessContext
    url: str
    knows_local_rank: bool = True
    """If not, the context counts this process as the only one of its node; ``join`` finds out."""


def environment_context(environment: Mapping[str, str] = os.environ) -> ProcessContext | None:
    """The context that a launcher has given this process; None if it runs alone. Raises UserError as below."""
    membership = find_membership(environment)
    return membership.context if membership else None


def context_for_messages() -> ProcessContext:
    """``environment_context`` for a process that may be about to report a contradiction in its environment."""
    try:
        return environment_context() or ProcessContext()
    except UserError:
        return ProcessContext()


def find_membership(environment: Mapping[str, str] = os.environ) -> Membership | None:
    """What the environment says of this process; None if it runs alone.

    Raises UserError, with the missing variable, if it is one of several processes but cannot know which or where the
    others are: it must not work alone beside them.
    """
    for find in (_by_rank, _by_mpi, _by_slurm):
        membership = find(environment)
        if membership:
            return membership
    if environment.get("PMIX_RANK") and "SLURM_PROCID" not in environment:
        raise UserError(
            "PMIX_RANK is set, so a launcher has started several processes, but not how many there are: "
            "set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or start with torchrun"
        )
    return None


def _by_rank(environment: Mapping[str, str]) -> Membership | None:
    """RANK and WORLD_SIZE: torchrun, Kubeflow and hand-made scripts."""
    rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is None and world_size in (None, 1):
        return None
    for name, value, other in (("RANK", rank, "WORLD_SIZE"), ("WORLD_SIZE", world_size, "RANK")):
        if value is None:
            raise UserError(
                f"{other}={environment[other]} is set in the environment, but {name} is not: set RANK, WORLD_SIZE, "
                f"MASTER_ADDR and MASTER_PORT for several processes, or unset {other} to train alone"
            )
    assert rank is not None and world_size is not None
    if not 0 <= rank < world_size:
        raise UserError(f"RANK={rank} in the environment: with WORLD_SIZE={world_size} it is 0 to {world_size - 1}")
    address = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if address and world_size == 1:
        return None
    if address:
        raise UserError(
            f"RANK and WORLD_SIZE in the environment make this process {rank} of {world_size}, but "
            f"{' and '.join(address)} (the address at which process 0 listens) are not set: set them, or unset RANK "
            "and WORLD_SIZE to train alone"
        )
    local_rank, local_size = _number(environment, "LOCAL_RANK"), _number(environment, "LOCAL_WORLD_SIZE")
    url = _url(environment["MASTER_ADDR"], environment["MASTER_PORT"])
    if local_rank is None or local_size is None:
        return Membership("the environment (RANK)", ProcessContext(rank, world_size), url, knows_local_rank=False)
    return Membership(TORCHRUN, ProcessContext(rank, world_size, local_rank, local_size), url)


def _by_mpi(environment: Mapping[str, str]) -> Membership | None:
    for launcher, names in MPI_LAUNCHERS.items():
        rank, world_size, local_rank, local_size = (_number(environment, name) for name in names)
        if rank is None or world_size in (None, 1):
            continue
        assert world_size is not None
        if names[0] == "PMI_RANK" and _by_slurm(environment) and environment.get("SLURM_PROCID") == str(rank):
            continue  # srun --mpi=pmi2: SLURM's own variables say more
        if environment.get("MASTER_ADDR") and environment.get("MASTER_PORT"):
            url = _url(environment["MASTER_ADDR"], environment["MASTER_PORT"])
        elif local_size == world_size:
            url = LOCAL_URL
        else:
            raise UserError(
                f"{launcher} has started process {rank} of {world_size}, on several nodes: give the address of the "
                "node of rank 0 and a free port in MASTER_ADDR and MASTER_PORT (mpirun -x MASTER_ADDR=...)"
            )
        if local_rank is None or local_size is None:
            return Membership(launcher, ProcessContext(rank, world_size), url, knows_local_rank=False)
        return Membership(launcher, ProcessContext(rank, world_size, local_rank, local_size), url)
    return None


def _by_slurm(environment: Mapping[str, str]) -> Membership | None:
    context = slurm_context(environment)
    if context is None:
        return None
    if environment.get("MASTER_ADDR") and environment.get("MASTER_PORT"):
        return Membership("srun", context, _url(environment["MASTER_ADDR"], environment["MASTER_PORT"]))
    return Membership("srun", context, slurm_url(environment))


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
    """The address of the first task of a SLURM job: its node, and a port derived from the job's number."""
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((environment[name] for name in names if environment.get(name)), "")
    job = environment.get("SLURM_JOB_ID", environment.get("SLURM_JOBID", "0"))
    if not nodes:
        raise UserError(
            "SLURM names no nodes (SLURM_NODELIST): set MASTER_ADDR and MASTER_PORT, or give --dist-url "
            "tcp://ADDRESS:PORT of the first node"
        )
    return f"tcp://{first_host(nodes)}:{20000 + int(job) % 10000}"


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: "gpu[03-05,09],login1" -> "gpu03"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first.group() if first else nodes)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if text and not text.isdecimal():
        raise UserError(f"{name}={text} in the environment is not a whole number from 0")
    return int(text) if text else None


def _url(host: str, port: str) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def launcher_keeps_store(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the processes meet in a store of torchrun's, which survives their restarts."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def attempt(environment: Mapping[str, str] = os.environ) -> int:
    """The number of restarts, to tell their keys apart in a store that survives them; else 0.

    A node that joins late counts from 0, unlike the others. So when nodes are to be replaced, torchrun must not share
    its store (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1). Rank 0 then opens a new one after each restart.
    """
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")) if launcher_keeps_store(environment) else 0


def describe(context: ProcessContext, url: str) -> None:
    """Sets torchrun's variables in this process's environment, for itself and its children."""
    set_address(url)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = (context.rank, context.world_size, context.local_rank, context.local_size)
    os.environ.update(zip(names, map(str, values), strict=True))


def set_address(url: str) -> None:
    """Sets the address of rank 0 in this process's environment."""
    host, port = parse_dist_url(url)
    os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))


def parse_dist_url(url: str) -> tuple[str, int]:
    """ "tcp://host:port" -> (host, port); UserError for anything else."""
    match = re.fullmatch(r"tcp://(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]+)):(\d{1,5})/?", url)
    if not match or not 0 < int(match[3]) < 65536:
        raise UserError(f"--dist-url {url}: expected tcp://ADDRESS:PORT, for example tcp://10.0.0.1:29500")
    return match[1] or match[2], int(match[3])
