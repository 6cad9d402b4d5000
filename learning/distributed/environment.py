"""What this process is among the processes of its job, from the environment variables that launchers set.

| launcher | variables |
|---|---|
| torchrun | RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT |
| Kubeflow's PyTorchJob, hand-made scripts | RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT |
| SLURM's srun | SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_NNODES, SLURM_NODELIST |

Without LOCAL_RANK and LOCAL_WORLD_SIZE, a process is the only one of its node, as Kubeflow starts them.

Beside this module, only ``launch`` looks at two of them: whether LOCAL_RANK is set, and MASTER_ADDR, which a typed
address replaces. mpirun's processes are refused, since each would train alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from networks.errors import UserError

TORCHRUN = "torchrun"


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
    def n_nodes(self) -> int:
        return self.world_size // self.local_size

    @property
    def node(self) -> int:
        return self.rank // self.local_size


@dataclass(frozen=True)
class Membership:
    """This process as a member of a job: which launcher started it, its context, and where rank 0 listens."""

    launcher: str
    context: ProcessContext
    url: str
    restarts: int | None = None
    """Where the launcher keeps the store in which its processes meet: how often it has restarted them. Else None.

    A node that joins late counts from 0, unlike the others. So when nodes are to be replaced, torchrun must not share
    its store (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1). Rank 0 then opens a new one after each restart.
    """


def find_membership(environment: Mapping[str, str] = os.environ) -> Membership | None:
    """What the environment says of this process; None if it runs alone.

    Raises UserError, with the missing variable, if it is one of several processes but cannot know which or where the
    others are: it must not work alone beside them.
    """
    return _by_rank(environment) or _by_slurm(environment)


def _by_rank(environment: Mapping[str, str]) -> Membership | None:
    """RANK and WORLD_SIZE: torchrun, Kubeflow and hand-made scripts."""
    rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is None and world_size in (None, 1):
        return None
    url = _master_url(environment)
    if url is None and world_size == 1:
        return None
    if rank is None or world_size is None or url is None:
        needed = {name: environment.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
        given = " and ".join(f"{name}={value}" for name, value in needed.items() if value)
        missing = " and ".join(name for name, value in needed.items() if not value)
        raise UserError(
            f"{given} in the environment makes this one of several processes, but {missing} is not set: set all four, "
            "or unset RANK and WORLD_SIZE to train alone"
        )
    if rank >= world_size:
        raise UserError(f"RANK={rank} in the environment: with WORLD_SIZE={world_size} it is 0 to {world_size - 1}")
    local_rank, local_size = _number(environment, "LOCAL_RANK"), _number(environment, "LOCAL_WORLD_SIZE")
    if local_rank is None or local_size is None:
        return Membership("the environment (RANK)", ProcessContext(rank, world_size), url)
    restarts = None
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        restarts = _number(environment, "TORCHELASTIC_RESTART_COUNT") or 0
    return Membership(TORCHRUN, ProcessContext(rank, world_size, local_rank, local_size), url, restarts=restarts)


def _refuse_mpirun(environment: Mapping[str, str]) -> None:
    """Raises UserError in a process of mpirun. srun, which may set PMI's variables as well, is no mpirun."""
    for name in ("OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        rank, size = environment.get(name), environment.get(name.replace("RANK", "SIZE"))
        of_srun = name.startswith("PMI") and rank == environment.get("SLURM_PROCID")
        if rank and size != "1" and not of_srun:
            raise UserError(
                f"mpirun has started this process ({name}={rank} in the environment), which is not supported: start "
                "with torchrun or srun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in every process"
            )


def _by_slurm(environment: Mapping[str, str]) -> Membership | None:
    """The task of srun that this process is; None if SLURM has not started several tasks."""
    _refuse_mpirun(environment)
    rank = _number(environment, "SLURM_PROCID")
    n_tasks = _number(environment, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") or 1
    if rank is None or n_tasks == 1:
        return None
    n_nodes = _number(environment, "SLURM_STEP_NUM_NODES", "SLURM_NNODES") or 1
    local_rank = _number(environment, "SLURM_LOCALID") or 0
    if n_tasks % n_nodes or rank % (n_tasks // n_nodes) != local_rank:
        raise UserError(
            f"srun has put {n_tasks} tasks on {n_nodes} nodes, task {rank} as number {local_rank} of its node: "
            "give --ntasks-per-node and --distribution=block, so that every node has the same number, in order"
        )
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((environment[name] for name in names if environment.get(name)), "")
    job = _number(environment, "SLURM_JOB_ID", "SLURM_JOBID") or 0
    url = _master_url(environment) or f"tcp://{first_host(nodes)}:{20000 + job % 10000}"
    return Membership("srun", ProcessContext(rank, n_tasks, local_rank, n_tasks // n_nodes), url)


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: "gpu[03-05,09],login1" -> "gpu03"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first.group() if first else nodes)


def _number(environment: Mapping[str, str], *names: str) -> int | None:
    """The value of the first of ``names`` that is set."""
    name = next((name for name in names if environment.get(name, "").strip()), None)
    if name is None:
        return None
    if not environment[name].strip().isdecimal():
        raise UserError(f"{name}={environment[name]} in the environment is not a whole number from 0")
    return int(environment[name])


def _master_url(environment: Mapping[str, str]) -> str | None:
    host, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    if not host or not port:
        return None
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def parse_dist_url(url: str) -> tuple[str, int]:
    """ "tcp://host:port" -> (host, port); UserError for anything else."""
    match = re.fullmatch(r"tcp://(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]+)):(\d{1,5})/?", url)
    if not match or not 0 < int(match[3]) < 65536:
        raise UserError(f"--dist-url {url}: expected tcp://ADDRESS:PORT, for example tcp://10.0.0.1:29500")
    return match[1] or match[2], int(match[3])
