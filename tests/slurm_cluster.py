"""A SLURM cluster on this machine: slurmctld, one ``slurmd -N`` per node, and munge, for the tests.

All daemons run in namespaces of their own (mount, network, processes), with all files in one folder. Their ports and
names are visible only there, and everything ends with the first process of the namespaces: at the end of the tests,
after Ctrl-C, and when the tests are killed. Needs root, Debian's ``slurm-wlm`` and ``munge``, and iproute2.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.runs import ROOT

PROGRAMS = ("slurmctld", "slurmd", "munged", "ip", "unshare", "nsenter", "setpriv", "pgrep")

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(10.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts when the credentials of its first start have expired: after two minutes, here after 5 seconds.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdDebug=verbose
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=2
# More CPUs and GPUs than the machine has, so that the page's script needs no other numbers.
SlurmdParameters=config_overrides
GresTypes=gpu
SlurmdTimeout=10
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

START = """\
set -e
mount --bind hosts /etc/hosts
ip link set lo up
# SLURM takes no names that lead to the loopback device only.
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
for number in $(seq $N_NODES); do ip address add 10.0.0.$number/24 dev eth0; done
munged --force --key-file $PWD/munge.key --socket $PWD/munge.socket --pid-file $PWD/munged.pid \\
  --log-file $PWD/munged.log --seed-file $PWD/munged.seed
slurmctld
for number in $(seq $N_NODES); do slurmd -N n$number; done
exec sleep infinity
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a SLURM cluster for tests needs Linux and root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no SLURM cluster without {', '.join(absent)}: apt-get install slurm-wlm munge iproute2 procps"
    return None


def wait_until(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Returns when ``condition`` holds. Raises TimeoutError, with ``what``, if it does not within ``seconds``."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Cluster:
    """A cluster of nodes n1, n2, ..., with the addresses 10.0.0.1, 10.0.0.2, ..."""

    def __init__(self, folder: Path, n_nodes: int):
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, n_nodes + 1)]
        self._first: subprocess.Popen | None = None
        self._target = 0

    def __enter__(self) -> Cluster:
        self._write_files()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        with open(self.folder / "start.log", "w") as log:
            self._first = subprocess.Popen(
                [*command, "--mount-proc", "bash", "start.sh"],
                cwd=self.folder,
                env=os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "N_NODES": str(len(self.nodes))},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "the cluster's nodes are ready", seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._first is not None
        self._first.kill()  # the kernel then ends all processes of the namespaces
        self._first.wait()

    def _write_files(self) -> None:
        addresses = "".join(f"10.0.0.{number} n{number}\n" for number in range(1, len(self.nodes) + 1))
        (self.folder / "hosts").write_text(Path("/etc/hosts").read_text() + "\n" + addresses)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-7]\n")
        for number in range(8):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "state").mkdir()
        host = socket.gethostname()
        same = f"NodeHostname={host} CPUs=64 Gres=gpu:8"
        nodes = [f"NodeName={name} NodeAddr={name} Port={7000 + i} {same}\n" for i, name in enumerate(self.nodes)]
        text = CONFIGURATION.format(host=host, folder=self.folder) + "".join(nodes)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "start.sh").write_text(START)

    def _is_ready(self) -> bool:
        assert self._first is not None
        if self._first.poll() is not None:
            raise RuntimeError(f"the cluster did not start: {(self.folder / 'start.log').read_text()}")
        children = subprocess.run(["pgrep", "-P", str(self._first.pid)], capture_output=True, text=True).stdout.split()
        if not children or not (self.folder / "slurmctld.pid").exists():
            return False
        self._target = int(children[0])
        states = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return states == ["idle"] * len(self.nodes)

    def run(self, *command: object, check: bool = True, **environment: str) -> str:
        """The output of a command on the cluster, in the repository's folder. Raises RuntimeError if it fails."""
        enter = ["nsenter", f"--target={self._target}", "--mount", "--net", "--pid", f"--wd={ROOT}"]
        done = subprocess.run(
            [*enter, *map(str, command)],
            env=os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
        return done.stdout

    def job(self, number: int) -> dict[str, str]:
        """What ``scontrol show job`` says, by name."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", number, "--oneliner")))

    def wait_for_state(self, number: int, *states: str, seconds: float = 200) -> dict[str, str]:
        """The job, as soon as it is in one of ``states``."""
        wait_until(lambda: self.job(number)["JobState"] in states, f"job {number} is {' or '.join(states)}", seconds)
        return self.job(number)

    def wait_until_requeued(self, number: int, seconds: float = 60) -> None:
        """Waits until the job is requeued, and gives it an hour."""

        def is_requeued() -> bool:
            job = self.job(number)
            return job["JobState"] == "PENDING" and job["Restarts"] != "0"

        wait_until(is_requeued, f"job {number} is requeued", seconds)
        self.run("scontrol", "update", f"JobId={number}", "TimeLimit=60")

    def tasks(self, job: int, node: str | None = None) -> list[int]:
        """The processes of a job's training: of all nodes, or of ``node``."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            of_node = node is None or f"SLURMD_NODENAME={node}".encode() in environment
            is_training = command[0].endswith(b"python") and b"main_contrast.py" in command  # and not srun
            of_cluster = f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment
            if is_training and of_cluster and of_node and f"SLURM_JOB_ID={job}".encode() in environment:
                found.append(int(folder.name))
        return found

    def power_off(self, node: str, job: int) -> None:
        """Ends what runs on ``node``, without a chance to say anything: slurmd, its steps, the training."""
        tasks = self.tasks(job, node)
        parents = {int(Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[1]) for pid in tasks}
        daemons = subprocess.run(["pgrep", "-f", f"^slurmd -N {node}$"], capture_output=True, text=True).stdout.split()
        own = [int(pid) for pid in daemons if self._is_ours(int(pid))]
        for pid in (*own, *parents, *tasks):
            os.kill(pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        return Path(f"/proc/{pid}/ns/pid").samefile(f"/proc/{self._target}/ns/pid")

    def power_on(self, node: str) -> None:
        self.run("slurmd", "-N", node)
        wait_until(lambda: self.run("sinfo", "-h", "-n", node, "-o", "%T").strip() == "idle", f"{node} is idle", 60)
