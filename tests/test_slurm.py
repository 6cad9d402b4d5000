"""The sbatch script of docs/training.md on a real SLURM cluster: ``make test-slurm``.

Each job runs the script as the page prints it. Nodes, tasks and the size of the training are changed only by options of
sbatch and by options after the script's name.
"""

import os
import re
import shlex
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from tests.images import write_training_set
from tests.runs import ROOT
from tests.slurm_cluster import Cluster, missing, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=str(missing()))]

SMALL = shlex.split(
    """--arch resnet18 --feat_dim 16 --nce_k 48 --n_aug 1 --patch_size 32 --batch_size 12 --learning_rate 0.5
    --epochs 4 --print_freq 1 -j 0"""
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), n_nodes=3) as running:
        yield running


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script in the section on SLURM of docs/training.md."""
    page = (ROOT / "docs" / "training.md").read_text()
    (block,) = re.findall(r"^    #!/bin/bash\n(?:    .*\n)+", page, re.MULTILINE)
    path = tmp_path_factory.mktemp("script") / "train.sbatch"
    path.write_text(textwrap.dedent(block))
    return path


@pytest.fixture(scope="module")
def csv_path(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("images"), n_images=24, width=80, height=64)


class Job:
    """A job of the page's script on ``nodes`` nodes."""

    def __init__(self, cluster, script, csv_path, folder, nodes=2, tasks=2, more=()):
        self.cluster = cluster
        self.folder = folder
        self.output = folder / "job.txt"
        shape = ["--nodes", nodes, "--ntasks-per-node", tasks, "--gpus-per-node", tasks, "--cpus-per-task", 4]
        paths = ["--csv_path", csv_path, "--model_path", folder / "expt", "--tb_path", folder / "expt"]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        sbatch = ["sbatch", "--parsable", "--time", 60, "--output", self.output, *shape, script]
        self.number = int(cluster.run(*sbatch, *paths, *SMALL, *more, **environment))

    def text(self):
        return self.output.read_text() if self.output.exists() else ""

    def wait(self, *states, seconds=200):
        """Waits for one of ``states``; the job's description."""
        try:
            return self.cluster.wait_for_state(self.number, *states, seconds=seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {self.cluster.job(self.number)}\n{self.text()}") from None

    def finish(self):
        """The digest of the weights at the end, which all nodes print."""
        job = self.wait("COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT", "CANCELLED")
        text = self.text()
        assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0"), text
        digests = re.findall(r"weights (\w+) on node (\d)", text)
        assert len({digest for digest, _ in digests}) == 1, text
        assert sorted(node for _, node in digests) == [str(node) for node in range(int(job["NumNodes"]))]
        return digests[0][0]

    def wait_for(self, said, seconds=150):
        wait_until(lambda: said in self.text(), f"'{said}' in {self.text()}", seconds)


@pytest.fixture
def start(cluster, script, csv_path, tmp_path):
    jobs = []

    def start(*arguments, **options):
        jobs.append(Job(cluster, script, csv_path, tmp_path, *arguments, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        cluster.run("scancel", job.number, check=False)
        wait_until(lambda job=job: not cluster.tasks(job.number), "the job's processes have ended", 60)


@pytest.fixture(scope="module")
def undisturbed(cluster, script, csv_path, tmp_path_factory):
    """The weights at the end of a job on two nodes with two tasks each."""
    job = Job(cluster, script, csv_path, tmp_path_factory.mktemp("undisturbed"))
    digest = job.finish()
    assert "4 processes on cpu over gloo" in job.text() and "epoch 4/4" in job.text()
    return digest


def test_three_nodes_with_two_tasks_each(start):
    job = start(nodes=3)
    job.finish()
    assert "6 processes on cpu over gloo" in job.text()


def test_one_task_per_node_starts_its_processes_itself(start, undisturbed):
    job = start(tasks=1, more=["--multiprocessing-distributed", "--nproc-per-node", "2"])
    assert job.finish() == undisturbed
    assert "node 1 of 2: 2 processes, gloo" in job.text()


def test_a_job_before_its_time_limit_is_requeued_and_ends_as_if_undisturbed(start, undisturbed, cluster):
    job = start()
    job.wait_for("epoch 2/4  step 1/2")
    tasks = cluster.tasks(job.number)
    assert len(tasks) == 4
    for pid in tasks:  # SLURM looks at time limits every 30 seconds: the training must not end before
        os.kill(pid, signal.SIGSTOP)
    cluster.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=6")
    logs = [cluster.folder / f"slurmd-{node}.log" for node in cluster.nodes[:2]]
    sent = f"Sent signal {int(signal.SIGUSR1)} to StepId={job.number}.0"
    wait_until(lambda: all(sent in log.read_text() for log in logs), "SIGUSR1 before the time limit", 90)
    for pid in tasks:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_until_requeued(job.number)
    assert job.finish() == undisturbed
    text = job.text()
    assert re.search("interrupted by SIGUSR1 after (step 1 of )?epoch", text)
    assert re.search("resuming after (step 1 of )?epoch", text)
    assert cluster.job(job.number)["Restarts"] == "1"


def test_a_job_goes_on_with_another_node_when_one_is_lost(start, undisturbed, cluster):
    job = start()
    job.wait_for("epoch 2/4  step 1/2")
    remaining = cluster.tasks(job.number, "n1")
    cluster.power_off("n2", job.number)
    try:
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in remaining), "the others end", 60)
        cluster.wait_until_requeued(job.number)
        assert job.finish() == undisturbed
    finally:
        cluster.power_on("n2")
    text = job.text()
    assert "process 0 on" in text and "stopped, since another process has ended" in text
    assert "resuming after epoch" in text
    assert cluster.job(job.number)["NodeList"] == "n[1,3]"


def test_scancel_saves_and_does_not_requeue(start, cluster):
    job = start(more=["--epochs", 1000, "--save_freq", 1000])  # it must not end before the signal
    job.wait_for("epoch 2/1000  step 1/2")
    cluster.run("scancel", job.number)
    job.wait("CANCELLED", seconds=60)
    wait_until(lambda: not cluster.tasks(job.number), "the job's processes have ended", 30)
    job.wait_for("interrupted by SIGTERM after ", seconds=1)  # a step or an epoch
    assert cluster.job(job.number)["Restarts"] == "0"
    (run,) = (job.folder / "expt").iterdir()
    assert (run / "current.pth").exists()
