"""Six hosts on a network: namespaces joined by a bridge, each with an address of its own, and the command of six nodes.

Needs root, or rather what it takes to make network namespaces, and iproute2's ``ip``; is skipped where these are not.
"""

import random
import re
import shlex
import shutil
import socket

import pytest

from tests.images import write_training_set
from tests.namespaces import NoNamespaces, namespaces
from tests.runs import assert_same_curves, assert_same_training, checkpoint, scalars
from tests.runs import start as start_script

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("narrow_networks")]

N_HOSTS = 6
COMMAND = shlex.split(
    """--method MoCov2 --cosine --head mlp --csv_path ./csv_files/moco_train.csv --model_path ./expt0 --optimizer LARS
    --tb_path ./expt0 -j 0 --batch_size 12 --learning_rate 12 --n_aug 1 --epochs 2 --n_scale 2 --n_distortions 1
    --patch_size 32 --warm --swap_crops 1 --arch resnet18 --feat_dim 16 --nce_k 48 --print_freq 1"""
)


@pytest.fixture
def hosts():
    """Names of namespaces with addresses 10.0.0.1 to 10.0.0.6; the bridge has one too, and the machine sees none."""
    try:
        with namespaces(N_HOSTS) as names:
            yield names
    except NoNamespaces as error:
        pytest.skip(str(error))


def folders(tmp_path, kind):
    """A working folder for each host, with the CSV in its place."""
    made = [tmp_path / kind / str(host) for host in range(N_HOSTS)]
    images = write_training_set(tmp_path / "images", n_images=20, width=80, height=64)
    for folder in made:
        (folder / "csv_files").mkdir(parents=True)
        shutil.copy(images, folder / "csv_files" / "moco_train.csv")
    return made


def start(folder, *more, network=None, **environment):
    return start_script(*COMMAND, *more, cwd=folder, environment=environment, network=network)


def finish(processes):
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * N_HOSTS, "\n".join(outputs)
    return outputs


def train_on_one_machine(places):
    """Six tasks as srun starts them, on the loopback: another way of launching, to hold the network against."""
    job = next(job for job in iter(lambda: random.randrange(10000), None) if port_is_free(20000 + job))
    tasks = [
        start(
            folder,
            SLURM_PROCID=str(rank),
            SLURM_NTASKS=str(N_HOSTS),
            SLURM_NNODES=str(N_HOSTS),
            SLURM_NODEID=str(rank),
            SLURM_LOCALID="0",
            SLURM_NODELIST="127.0.0.1",
            SLURM_JOB_ID=str(job),
        )
        for rank, folder in enumerate(places)
    ]
    return finish(tasks)


def port_is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_six_hosts_train_as_one_machine_does(hosts, tmp_path):
    places = folders(tmp_path, "network")
    more = ["--multiprocessing-distributed", "--world-size", "6", "--dist-url", "tcp://10.0.0.1:29500", "--rank"]
    first = start(places[0], *more, 0, network=hosts[0])
    said = iter(first.stdout.readline, "")
    assert any(line == "waiting for 5 of 6 nodes at 10.0.0.1:29500\n" for line in said)
    others = [start(places[rank], *more, rank, network=hosts[rank]) for rank in range(1, N_HOSTS)]
    outputs = finish([first, *others])
    digests = [re.findall(r"weights (\w+) on node (\d)", output) for output in outputs]
    assert digests == [[(digests[0][0][0], str(node))] for node in range(N_HOSTS)]
    # Only the first one writes, and what each step saw is reported once.
    assert [sorted(path.name for path in place.iterdir()) for place in places[1:]] == [["csv_files"]] * 5
    assert len(scalars(places[0] / "expt0", "loss")) == 2 * 2

    tasks = folders(tmp_path, "slurm")
    train_on_one_machine(tasks)
    assert_same_training(checkpoint(places[0] / "expt0"), checkpoint(tasks[0] / "expt0"))
    assert_same_curves(places[0] / "expt0", tasks[0] / "expt0")
