"""Whose error it is: one that follows from the end of another process, or one of this process."""

import pytest
import torch.distributed as dist

from learning.distributed.launch import explain, lost_contact

NCCL = "NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:77, "
SYSTEM = (
    "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.\nLast error:\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\nDuplicate GPU detected",
        SYSTEM + "Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)",
    ],
)
def test_a_processs_own_nccl_error_is_its_own(text):
    assert not lost_contact(dist.DistBackendError(NCCL + text))


@pytest.mark.parametrize(
    "error",
    [
        dist.DistBackendError(
            NCCL + "ncclRemoteError: A call failed possibly due to a network error or a remote process"
        ),
        dist.DistBackendError(NCCL + SYSTEM + "Call to recv from 10.0.0.2<4000> failed : Connection reset by peer"),
        dist.DistBackendError("NCCL communicator was aborted on rank 1."),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3000"),
    ],
)
def test_anothers_death_is_told_by_the_lost_connection(error):
    assert lost_contact(error)


def test_a_wrong_network_interface_is_an_error_of_this_process(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    with pytest.raises(RuntimeError, match="nosuch0") as caught:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert not lost_contact(caught.value)


def test_other_errors_are_nobodys_death():
    assert not lost_contact(OSError("NCCL")) and not lost_contact(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_the_end_of_a_workers_pipe_is_the_end_of_a_worker(error):
    """What the main process gets if the worker is killed while it hands over a batch."""
    assert "a data worker ended unexpectedly; " in explain(error) and "(-j)" in explain(error)
