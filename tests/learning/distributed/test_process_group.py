"""Several real processes: shuffled BatchNorm, the gathering of keys, and which address is refused."""

import multiprocessing
import socket
from contextlib import contextmanager

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle
from learning.contrastive.setup import build_moco
from learning.distributed.environment import Membership, ProcessContext, find_membership, parse_dist_url
from learning.distributed.launch import start_node
from learning.distributed.process_group import (
    from_first,
    gather_objects,
    gather_rows,
    join,
    leave,
)
from networks.errors import UserError
from options.contrast import parse_contrast_options
from tests.runs import free_port

pytestmark = pytest.mark.processes


@contextmanager
def joined(rank, n_nodes, per_node, port):
    """What a launcher sets for a process of ``n_nodes`` times ``per_node``."""
    environment = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(n_nodes * per_node),
        "LOCAL_RANK": str(rank % per_node),
        "LOCAL_WORLD_SIZE": str(per_node),
    }
    yield join(find_membership(environment), "gloo")
    leave()


@pytest.mark.parametrize("n_nodes, per_node", [(1, 2), (2, 2)])
def test_processes_exchange_crops_keys_facts_and_gradients(n_nodes, per_node):
    """One start for all checks, by a server that has imported torch: each import takes longer than the checks."""
    multiprocessing.set_forkserver_preload(["learning.contrastive.setup"])
    arguments = (n_nodes, per_node, free_port())
    mp.start_processes(_check_in_group, arguments, nprocs=n_nodes * per_node, start_method="forkserver")


def _check_in_group(rank, n_nodes, per_node, port):
    with joined(rank, n_nodes, per_node, port) as context:
        assert context == ProcessContext(rank, n_nodes * per_node, rank % per_node, per_node)
        _check_that_key_crops_are_shuffled_within_a_node_and_keys_come_back(context)
        _check_that_all_processes_keys_are_negatives_but_the_own(context)
        _check_that_facts_come_from_one_rank_or_from_all(context)
        if context.world_size == 2:
            _check_that_gradients_are_averaged_in_bfloat16_on_request(context)


def _check_that_key_crops_are_shuffled_within_a_node_and_keys_come_back(context):
    n, rank, per_node, world_size = 5, context.rank, context.local_size, context.world_size
    shuffle = NodeShuffle(context, seed=3)
    own = (torch.arange(n) + n * rank).to(torch.uint8)[:, None]
    kept = 0
    for step in range(6):
        scattered = shuffle.shuffle(own, step)
        node = gather_rows(scattered)[:, 0].view(-1, per_node * n)
        # Nothing is lost or doubled, and no crop leaves its node.
        expected = torch.arange(world_size * n, dtype=torch.uint8).view(-1, per_node * n)
        assert torch.equal(node.sort(dim=1).values, expected)
        # Each process has its part of the node's rows, in the order of the permutation.
        order = shuffle._permutation(per_node * n, step).view(per_node, n)[rank % per_node]
        assert torch.equal(scattered, expected[rank // per_node][order][:, None])
        kept += len(set(scattered.ravel().tolist()) & set(own.ravel().tolist()))
        assert torch.equal(shuffle.unshuffle(gather_rows(scattered), step), gather_rows(own))
    assert kept < 6 * n * 0.9  # the processes do exchange
    assert gather_rows(own)[:, 0].tolist() == list(range(world_size * n))


class FirstLayer(nn.Module):
    """Embeddings by one linear layer, and no logits of levels."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)

    def forward(self, images):
        return self.linear(images.flatten(1)), images.new_empty(len(images), 0)


def _check_that_all_processes_keys_are_negatives_but_the_own(context):
    # Crops (N, 3, 1, 1) are their own embeddings; crop i of all has the value i + 1 in the first channel.
    n = 3
    crops = torch.zeros(n, 3, 1, 1)
    crops[:, 0, 0, 0] = torch.arange(n) + n * context.rank + 1
    networks = [FirstLayer() for _ in range(2)]
    networks[0].linear.weight.data = torch.eye(3)
    queue = KeyQueue(4, 3)
    queue.memory.zero_()
    moco = MoCo(*networks, queue, 1.0, 0.9, lambda crops: crops, NodeShuffle(context, seed=3), "queue+batch")
    logits, keys, _ = moco(crops, crops, step=1)
    values = torch.arange(1, context.world_size * n + 1, dtype=torch.float32)
    assert keys[:, 0].tolist() == values.tolist()
    for i, row in enumerate(logits):
        own = n * context.rank + i
        assert row[0] == values[own] ** 2 and row[1:5].tolist() == [0] * 4
        expected = values[own] * values
        expected[own] = -torch.inf
        assert torch.equal(row[5:], expected)


def _check_that_facts_come_from_one_rank_or_from_all(context):
    assert from_first(lambda: f"of rank {context.rank}", context) == "of rank 0"
    assert gather_objects(context.rank or None, context) == [None, 1, 2, 3][: context.world_size]


def _check_that_gradients_are_averaged_in_bfloat16_on_request(context):
    means = {}
    for more in ([], ["--bf16_gradients"]):
        options = parse_contrast_options(["--arch", "resnet18", "--nce_k", "16", "--csv_path", "none", *more])
        f_q = build_moco(options, context, torch.device("cpu")).f_q
        crops = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(context.rank))
        f_q(crops)[0][:, 0].sum().backward()
        means[bool(more)] = f_q.module.encoder.conv1.weight.grad
        assert torch.equal(gather_rows(means[bool(more)][None])[1 - context.rank], means[bool(more)])
    assert torch.equal(means[True], means[True].bfloat16().float())
    assert not torch.equal(means[False], means[True])
    assert torch.allclose(means[False], means[True], rtol=0.05, atol=0.01 * means[False].abs().max().item())


def test_without_a_group_facts_are_the_processs_own():
    assert from_first(lambda: 5, ProcessContext()) == 5 and gather_objects(7, ProcessContext()) == [7]


def test_one_process_alone_keeps_its_crops():
    crops = torch.arange(6)[:, None]
    shuffle = NodeShuffle(ProcessContext())
    assert shuffle.shuffle(crops, 0) is crops and shuffle.unshuffle(crops, 0) is crops
    assert gather_rows(crops) is crops


@pytest.mark.parametrize("url", ["10.0.0.1:29500", "tcp://10.0.0.1", "tcp://:29500", "http://a:1", "tcp://a:99999"])
def test_a_wrong_address_is_refused(url):
    with pytest.raises(UserError, match="expected tcp://ADDRESS:PORT"):
        parse_dist_url(url)


def test_addresses():
    assert parse_dist_url("tcp://10.0.0.1:29500") == ("10.0.0.1", 29500)
    assert parse_dist_url("tcp://[fe80::1]:29500") == ("fe80::1", 29500)


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*cannot listen"):
            start_node(
                print, parse_contrast_options([]), "gloo", Membership("", ProcessContext(), f"tcp://127.0.0.1:{port}")
            )
