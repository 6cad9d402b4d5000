"""How a process learns what it is, from options, torchrun or srun; what nodes say while they wait for each other."""

import shlex
import threading

import pytest

from learning.distributed import process_group
from learning.distributed.environment import ProcessContext, find_membership, first_host
from learning.distributed.launch import find_launch
from learning.distributed.process_group import wait_for_all
from networks.errors import UserError
from options.contrast import parse_contrast_options
from tests.runs import free_port

SIX_NODES = "--multiprocessing-distributed --nproc-per-node 2 --world-size 6 --rank 3 --dist-url tcp://10.0.0.1:29500"


def launch(options, **environment):
    return find_launch(parse_contrast_options(shlex.split(options)), environment)


def found(options, **environment):
    """(context, address): what a process trains as, or the first of the processes that it starts."""
    member = launch(options, **environment)
    return member.context, member.url


def slurm(rank, n_tasks, n_nodes, **more):
    per_node = n_tasks // n_nodes
    return {
        "SLURM_PROCID": str(rank), "SLURM_NTASKS": str(n_tasks), "SLURM_NNODES": str(n_nodes),
        "SLURM_LOCALID": str(rank % per_node), "SLURM_NODELIST": "gpu[07-08,11]", "SLURM_JOB_ID": "712345",
    } | more  # fmt: skip


def test_options_alone():
    assert launch("") is None
    assert found(SIX_NODES) == (ProcessContext(6, 12, 0, 2), "tcp://10.0.0.1:29500")
    assert (launch(SIX_NODES).context.node, launch(SIX_NODES).context.n_nodes) == (3, 6)
    assert launch(SIX_NODES).restarts == 0  # its processes meet where the nodes have met


MASTER = {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29501"}


def test_torchrun():
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"} | MASTER
    assert found("", **torchrun) == (ProcessContext(5, 8, 1, 4), "tcp://10.0.0.7:29501")
    assert found("--dist-url tcp://10.0.0.1:1", **torchrun)[1] == "tcp://10.0.0.7:29501"
    assert launch("", **torchrun, **slurm(0, 2, 2)).context == ProcessContext(5, 8, 1, 4)  # torchrun started by srun
    with pytest.raises(UserError, match=r"torchrun has started .*leave out --multiprocessing-distributed"):
        launch(SIX_NODES, **torchrun)


def test_kubeflow():
    """RANK and WORLD_SIZE without LOCAL_RANK: one training process, or the launcher of one node."""
    kubeflow = {"RANK": "1", "WORLD_SIZE": "2"} | MASTER
    member = find_membership(kubeflow)
    assert member.context == ProcessContext(1, 2, 0, 1)
    assert launch("", **kubeflow) == member and member.url == "tcp://10.0.0.7:29501"
    starting = launch("--multiprocessing-distributed --nproc-per-node 8", **kubeflow)
    assert (starting.context, starting.url) == (ProcessContext(8, 16, 0, 8), "tcp://10.0.0.7:29501")
    by_hand = "--multiprocessing-distributed --world-size 2 --rank 1 --nproc-per-node 8 --dist-url tcp://10.0.0.7:29501"
    assert launch(by_hand, **kubeflow) == starting
    assert launch("--world-size 1", **kubeflow).context == ProcessContext(1, 2)  # never alone beside the other process
    assert find_membership({"WORLD_SIZE": "1"}) is None
    assert find_membership({"RANK": "0", "WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    "environment, said",
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK=0 and WORLD_SIZE=2 .*, but MASTER_ADDR and MASTER_PORT is not set"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}, "RANK=1 and WORLD_SIZE=2 .*, but MASTER_PORT is not"),
        ({"RANK": "0"} | MASTER, "RANK=0 and MASTER_ADDR=.* in the environment .*, but WORLD_SIZE is not set"),
        ({"RANK": "0"}, "RANK=0 in the environment .*, but WORLD_SIZE and MASTER_ADDR and MASTER_PORT is not set"),
        ({"WORLD_SIZE": "2"} | MASTER, "WORLD_SIZE=2 and MASTER_ADDR=.* in the environment .*, but RANK is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2"} | MASTER, "RANK=2 in the environment: with WORLD_SIZE=2 it is 0 to 1"),
        ({"RANK": "x", "WORLD_SIZE": "2"} | MASTER, "RANK=x in the environment is not a whole number"),
        ({"PMIX_RANK": "1"}, r"PMIX_RANK=1.*start with torchrun or srun, or set RANK, WORLD_SIZE, MASTER_ADDR"),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, "mpirun has started this process .PMI_RANK=3 in the environment"),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_RANK=1 .* not supported"),
    ],
)
def test_a_process_that_lacks_a_variable_never_works_alone(environment, said):
    with pytest.raises(UserError, match=said):
        find_membership(environment)


def test_mpirun_is_told_from_srun():
    # mpirun within a SLURM job: SLURM's own numbers are those of the script that calls mpirun
    with pytest.raises(UserError, match="OMPI_COMM_WORLD_RANK=0"):
        launch("", OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="2", **slurm(0, 2, 1))
    pmi = {"PMI_RANK": "3", "PMI_SIZE": "4", "PMIX_RANK": "3"}
    assert find_membership(pmi | slurm(3, 4, 2)).context == ProcessContext(3, 4, 1, 2)  # srun --mpi=pmi2
    with pytest.raises(UserError, match="PMI_RANK=3"):
        find_membership(pmi | slurm(0, 4, 2))
    assert find_membership({"PMI_RANK": "0", "PMI_SIZE": "1"}) is None
    assert launch("", **pmi, RANK="1", WORLD_SIZE="2", **MASTER).context == ProcessContext(1, 2)


def test_srun():
    assert found("", **slurm(5, 6, 3)) == (ProcessContext(5, 6, 1, 2), "tcp://gpu07:22345")
    assert found("--dist-url tcp://10.0.0.1:1", **slurm(5, 6, 3))[1] == "tcp://10.0.0.1:1"
    # One task per node that starts the node's processes; or typed by hand, which wins.
    starting = launch("--multiprocessing-distributed --nproc-per-node 4", **slurm(2, 3, 3))
    assert starting.context == ProcessContext(8, 12, 0, 4) and starting.context.node == 2
    assert launch(SIX_NODES, **slurm(2, 3, 3)) == launch(SIX_NODES)
    # A job step's numbers count, where they differ from the job's.
    step = slurm(1, 6, 3, SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1")
    assert find_membership(step).context == ProcessContext(1, 2, 1, 2)
    assert find_membership(slurm(0, 1, 1)) is None and find_membership({"SLURM_NTASKS": "4"}) is None


def test_srun_mistakes():
    with pytest.raises(UserError, match=r"2 processes on this node.*--ntasks-per-node=1"):
        launch("--multiprocessing-distributed", **slurm(0, 4, 2))
    with pytest.raises(UserError, match=r"5 tasks on 2 nodes.*--ntasks-per-node"):
        launch("", **slurm(0, 5, 2))
    with pytest.raises(UserError, match=r"task 1 as number 0 of its node.*--distribution=block"):
        launch("", **slurm(1, 4, 2, SLURM_LOCALID="0"))


@pytest.mark.parametrize(
    "nodes, first", [("a", "a"), ("a,b[1-2]", "a"), ("n[07-09,3].x,m", "n07.x"), ("r[1-2]c[3,4]", "r1c3")]
)
def test_first_host(nodes, first):
    assert first_host(nodes) == first


def test_nodes_say_whom_they_wait_for_and_not_for_ever(capsys, monkeypatch):
    monkeypatch.setattr(process_group, "SECONDS_BETWEEN_REPORTS", 0.4)  # a minute, for people
    monkeypatch.setattr(process_group, "PATIENCE", 0)
    url = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"2 of 3 nodes have not come to {url[6:]} within 1 s: number 1, 2; start"):
        wait_for_all(url, 0, 3, "nodes", 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"waiting for 2 of 3 nodes at {url[6:]}"
    assert 1 <= len(lines[1:]) <= 2 and all("so far, at most 1 s)" in line for line in lines[1:])
    with pytest.raises(UserError, match=r"nobody has listened at .* within 1 s"):
        wait_for_all(f"tcp://127.0.0.1:{free_port()}", 1, 3, "nodes", 1)


def meet_all(*nodes, seconds=20):
    """What becomes of nodes given as (rank, same): None, or a sentence."""
    url = f"tcp://127.0.0.1:{free_port()}"
    outcomes, stores = {}, []

    def come(index, rank, same):
        try:
            stores.append(wait_for_all(url, rank, len(nodes), "nodes", seconds, same))
        except UserError as error:
            outcomes[index] = str(error)

    threads = [threading.Thread(target=come, args=(index, *node)) for index, node in enumerate(nodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes.get(index) for index in range(len(nodes))]


def test_nodes_meet_or_say_why_not():
    assert meet_all((0, "a"), (1, "a"), (2, "a")) == [None, None, None]
    waiting, *twice = meet_all((0, "a"), (1, "a"), (1, "a"), seconds=3)
    assert "number 2" in waiting and "1 of the 3 nodes has come" in next(text for text in twice if "twice" in text)
    assert any("differs from the first that came" in (text or "") for text in meet_all((0, "a"), (1, "b")))


def test_restarts_count_only_in_a_store_that_survives_them():
    """A node that has joined late counts fewer restarts than the others: its keys must be theirs all the same."""
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"} | MASTER
    assert find_membership(torchrun | {"TORCHELASTIC_RESTART_COUNT": "2"}).restarts is None
    kept = torchrun | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert find_membership(kept).restarts == 2
    assert find_membership(kept | {"TORCHELASTIC_USE_AGENT_STORE": "False"}).restarts is None
