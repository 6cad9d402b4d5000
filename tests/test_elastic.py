"""torchrun's elasticity on a network of namespaces: a node is lost, another one or none comes, the training resumes.

The commands are those of docs/training.md: the c10d rendezvous, ``--local-addr`` and ``--resume auto``.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.images import write_training_set
from tests.namespaces import NoNamespaces, namespaces
from tests.runs import ROOT, SMALL, assert_same_training, checkpoint

pytestmark = [pytest.mark.processes, pytest.mark.elastic]

# A lost node is noticed after 3 s without a sign of life instead of 15; with a variable number, nodes come within 3 s.
QUICK = "keep_alive_interval=1,keep_alive_max_attempt=3,last_call_timeout=3"


@pytest.fixture(scope="module")
def hosts():
    try:
        with namespaces(4) as names:
            yield {f"10.0.0.{number}": name for number, name in enumerate(names, start=1)}
    except NoNamespaces as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=24)


class Node:
    """torchrun with one process on the host ``address``."""

    def __init__(self, hosts, csv_path, address, endpoint, folder, nodes="2", epochs=3):
        rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{endpoint}:29500", "--rdzv-id", "1"]
        torchrun = ["torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1", "--max-restarts", "3"]
        paths = ["--csv_path", csv_path, "--model_path", folder, "--tb_path", folder]
        training = [*SMALL, "--batch_size", 6, "--epochs", epochs, "-j", 0, *paths, "--resume", "auto"]
        conf = f"is_host={int(address == endpoint)},{QUICK}"
        command = [sys.executable, "-m", *torchrun, *rendezvous, "--rdzv-conf", conf, "--local-addr", address]
        environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / f"{address}.txt"
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", hosts[address], *command, str(ROOT / "main_contrast.py"), *map(str, training)],
            env=os.environ | environment,
            stdout=self._output.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._address = address

    def text(self):
        return self._output.read_text()

    def wait_for(self, said, seconds=200):
        until = time.monotonic() + seconds
        while said not in self.text():
            assert self._process.poll() is None and time.monotonic() < until, f"'{said}' is not in {self.text()}"
            time.sleep(0.02)

    def lose(self):
        """Ends torchrun and its processes, without a chance to say anything."""
        if self._process.poll() is None:
            children = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True).stdout
            for pid in (self._process.pid, *map(int, children.split())):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def finish(self):
        """What was printed, after a success."""
        assert self._process.wait(timeout=300) == 0, self.text()
        return self.text()


@pytest.fixture
def start(hosts, csv_path):
    nodes = []

    def start(*arguments, **options):
        nodes.append(Node(hosts, csv_path, *arguments, **options))
        return nodes[-1]

    yield start
    for node in nodes:
        node.lose()


@pytest.fixture(scope="module")
def undisturbed(hosts, csv_path, tmp_path_factory):
    """The folder of a run on two nodes to which nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    nodes = [Node(hosts, csv_path, address, "10.0.0.1", folder) for address in ("10.0.0.1", "10.0.0.2")]
    for node in nodes:
        node.finish()
        node._output.unlink()
    return folder


def take_output(folder):
    for path in folder.glob("10.0.0.*.txt"):
        path.unlink()


def test_another_node_takes_the_place_of_a_lost_one(start, undisturbed, tmp_path):
    staying, leaving = (start(address, "10.0.0.1", tmp_path / "shared") for address in ("10.0.0.1", "10.0.0.2"))
    staying.wait_for("epoch 2/3  step 2/4")
    leaving.lose()
    joining = start("10.0.0.3", "10.0.0.1", tmp_path / "shared")
    text, _ = (node.finish() for node in (staying, joining))
    assert len(re.findall("resuming after epoch [12] of", text)) == 1 and "finished" in text
    take_output(tmp_path / "shared")
    assert_same_training(checkpoint(undisturbed), checkpoint(tmp_path / "shared"))


def test_with_fewer_nodes_it_resumes_and_says_what_differs(start, tmp_path):
    nodes = [start(f"10.0.0.{number}", "10.0.0.1", tmp_path, nodes="2:3") for number in (1, 2, 3)]
    nodes[0].wait_for("epoch 2/3  step 2/4")
    nodes[2].lose()
    text, _ = (node.finish() for node in nodes[:2])
    assert "3 processes on cpu over gloo" in text and "2 processes on cpu over gloo" in text
    assert "processes was 3 and is 2: BatchNorm sees different batches" in text
    assert "the results will therefore differ from those of the original run" in text
    assert "finished" in text
