"""Other launchers' environments: their processes train together, and one whose partners never come can be stopped."""

import re
import signal
import time

import pytest

from common.process import INTERRUPTED, REQUEUE
from tests.images import write_training_set
from tests.runs import SMALL, free_port, start

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=8)


def begin(csv_path, folder, *more, **environment):
    paths = ["--csv_path", csv_path, "--model_path", folder, "--tb_path", folder, "--epochs", 2, "-j", 0]
    return start(*SMALL, *paths, *more, environment={name: str(value) for name, value in environment.items()})


def kubeflow(rank, port):
    return {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}


def test_processes_of_kubeflow_train_together(csv_path, tmp_path):
    port = free_port()
    processes = [begin(csv_path, tmp_path, **kubeflow(rank, port)) for rank in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (output for output, _ in outputs)
    assert "2 processes on cpu over gloo" in first and "2 processes on cpu" not in second
    assert re.search(r"weights \w+ on node 0", first) and re.search(r"weights \w+ on node 1", second)


@pytest.fixture
def alone(csv_path, tmp_path):
    """Rank 0 of two, whose partner never comes, when it has said that it waits."""
    port = free_port()
    process = begin(csv_path, tmp_path, **kubeflow(0, port), LOCAL_RANK=0, LOCAL_WORLD_SIZE=2)
    assert process.stdout.readline() == f"waiting for 1 of 2 processes at localhost:{port}\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, REQUEUE), (signal.SIGINT, INTERRUPTED)])
def test_a_process_that_waits_ends_at_once_on_a_signal(alone, number, status):
    began = time.monotonic()
    alone.send_signal(number)
    _, errors = alone.communicate(timeout=30)
    assert time.monotonic() - began < 5 and alone.returncode == status
    assert errors == f"main_contrast.py: interrupted by {number.name} before the first step\n"


@pytest.mark.parametrize("rank, said", [(0, "1 of 2 processes have not come to"), (1, "nobody has listened at")])
def test_a_process_whose_partner_never_comes_gives_up(csv_path, tmp_path, rank, said):
    process = begin(csv_path, tmp_path, "--join-timeout", 2, **kubeflow(rank, free_port()))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and said in errors and "Traceback" not in errors


def test_a_process_that_lacks_the_address_does_not_train_alone(csv_path, tmp_path):
    process = begin(csv_path, tmp_path, RANK=1, WORLD_SIZE=2)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and errors.count("\n") == 1
    assert "RANK=1 and WORLD_SIZE=2 in the environment makes this one of several processes" in errors
    assert not list(tmp_path.iterdir())
