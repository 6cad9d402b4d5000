"""How a process learns what it is, from options, torchrun or srun; what nodes say while they wait for each other."""

import shlex
import threading

import pytest

from common.errors import UserError
from learning.distributed.launch import Launch, find_launch, first_host, meet, slurm_context, slurm_url
from learning.distributed.process_group import ProcessContext
from options.contrast import parse_contrast_options
from tests.runs import free_port

SIX_NODES = "--multiprocessing-distributed --nproc-per-node 2 --world-size 6 --rank 3 --dist-url tcp://10.0.0.1:29500"


def launch(options, **environment):
    return find_launch(parse_contrast_options(shlex.split(options)), environment)


def slurm(rank, n_tasks, n_nodes, **more):
    per_node = n_tasks // n_nodes
    return {
        "SLURM_PROCID": str(rank), "SLURM_NTASKS": str(n_tasks), "SLURM_NNODES": str(n_nodes),
        "SLURM_LOCALID": str(rank % per_node), "SLURM_NODELIST": "gpu[07-08,11]", "SLURM_JOB_ID": "712345",
    } | more  # fmt: skip


def test_options_alone():
    assert launch("") == Launch()
    assert launch(SIX_NODES) == Launch(None, 6, 3, 2, "tcp://10.0.0.1:29500")
    assert launch(SIX_NODES).n_processes == 12


def test_torchrun(monkeypatch):
    for name, value in {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    assert launch("").context == ProcessContext(5, 8, 1, 4)
    assert launch("", **slurm(0, 2, 2)).context == ProcessContext(5, 8, 1, 4)  # torchrun started by srun
    with pytest.raises(UserError, match=r"torchrun has started this process.*leave out --multiprocessing-distributed"):
        launch(SIX_NODES)


def test_srun():
    found = launch("", **slurm(5, 6, 3))
    assert found.context == ProcessContext(5, 6, 1, 2) and found.dist_url == "tcp://gpu07:22345"
    assert launch("--dist-url tcp://10.0.0.1:1", **slurm(5, 6, 3)).dist_url == "tcp://10.0.0.1:1"
    # One task per node that starts the node's processes; or typed by hand, which wins.
    found = launch("--multiprocessing-distributed --nproc-per-node 4", **slurm(2, 3, 3))
    assert (found.context, found.n_nodes, found.node, found.n_per_node) == (None, 3, 2, 4)
    assert launch(SIX_NODES, **slurm(2, 3, 3)) == launch(SIX_NODES)
    # A job step's numbers count, where they differ from the job's.
    assert slurm_context(slurm(1, 6, 3, SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1")) == ProcessContext(
        1, 2, 1, 2
    )
    assert slurm_context(slurm(0, 1, 1)) is None and slurm_context({"SLURM_NTASKS": "4"}) is None


def test_srun_mistakes():
    with pytest.raises(UserError, match=r"2 tasks on this node.*--ntasks-per-node=1"):
        launch("--multiprocessing-distributed", **slurm(0, 4, 2))
    with pytest.raises(UserError, match=r"5 tasks on 2 nodes.*--ntasks-per-node"):
        launch("", **slurm(0, 5, 2))
    with pytest.raises(UserError, match=r"task 1 as number 0 of its node.*--distribution=block"):
        launch("", **slurm(1, 4, 2, SLURM_LOCALID="0"))
    with pytest.raises(UserError, match=r"SLURM names no nodes.*--dist-url"):
        slurm_url({})


@pytest.mark.parametrize(
    "nodes, first", [("a", "a"), ("a,b[1-2]", "a"), ("n[07-09,3].x,m", "n07.x"), ("r[1-2]c[3,4]", "r1c3")]
)
def test_first_host(nodes, first):
    assert first_host(nodes) == first


def test_nodes_say_whom_they_wait_for_and_not_for_ever(capsys):
    url = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=rf"2 of 3 nodes have not come to {url[6:]} within 1 s: number 1, 2; start"):
        meet(url, 0, 3, "nodes", "", 1)
    assert f"waiting for 2 of 3 nodes at {url[6:]}" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"nobody has listened at .* within 1 s"):
        meet(f"tcp://127.0.0.1:{free_port()}", 1, 3, "nodes", "", 1)


def meet_all(*nodes, seconds=20):
    """What becomes of nodes given as (rank, same): None, or a sentence."""
    url = f"tcp://127.0.0.1:{free_port()}"
    outcomes, stores = {}, []

    def come(index, rank, same):
        try:
            stores.append(meet(url, rank, len(nodes), "nodes", same, seconds))
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
