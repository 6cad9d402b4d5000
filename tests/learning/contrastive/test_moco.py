"""Momentum contrast: queue order, logits by hand, momentum update, and one step worked out independently."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.step import FLOAT64, PLAIN_FLOAT64, random_batches, start
from learning.contrastive.moco import KeyQueue, MoCo, NodeShuffle, accuracy, contrastive_loss, level_loss
from learning.distributed.environment import ProcessContext
from networks import ContrastiveNetwork


def numbered_keys(first, count, feat_dim=3):
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].expand(count, feat_dim).clone()


def test_queue_replaces_the_oldest_in_order_and_wraps_around():
    queue = KeyQueue(7, 3)
    expected = queue.memory.clone()
    position = 0
    for first, count in ((0, 3), (3, 3), (6, 3), (9, 7), (16, 1), (17, 5)):
        keys = numbered_keys(first, count)
        queue.enqueue(keys)
        for key in keys:  # one by one, as a ring is described
            expected[position % 7] = key
            position += 1
        assert torch.equal(queue.memory, expected) and queue.position == position % 7


def test_more_keys_than_the_queue_holds():
    queue, one_by_one = KeyQueue(4, 3), KeyQueue(4, 3)
    for target, step in ((queue, 11), (one_by_one, 1)):
        target.enqueue(numbered_keys(100, 2))
        for first in range(0, 11, step):
            target.enqueue(numbered_keys(first, step))
    assert torch.equal(queue.memory, one_by_one.memory) and queue.position == one_by_one.position


def test_queue_starts_with_the_same_random_unit_vectors_everywhere():
    queue = KeyQueue(1000, 128, seed=5)
    assert torch.allclose(queue.memory.norm(dim=1), torch.ones(1000))
    assert (queue.memory @ queue.memory.T - torch.eye(1000)).abs().max() < 0.6
    torch.manual_seed(99)
    assert torch.equal(queue.memory, KeyQueue(1000, 128, seed=5).memory)
    assert not torch.equal(queue.memory, KeyQueue(1000, 128, seed=6).memory)


class TinyNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        embeddings = F.normalize(self.head(self.norm(self.conv(x)).relu().mean((2, 3))), dim=1)
        return embeddings, x.new_empty(len(x), 0)


def unit_range(crops):
    return crops.double() / 255


def make_moco(negatives="queue", rank=0, world_size=1):
    torch.manual_seed(0)
    query, key = TinyNetwork().double(), TinyNetwork().double()
    node = NodeShuffle(ProcessContext(rank, world_size))
    return MoCo(query, key, KeyQueue(6, 5).double(), 0.2, 0.99, unit_range, node, negatives)


@pytest.fixture
def moco():
    return make_moco()


def dot(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def crops(seed, n=4):
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)) for _ in range(2))


def test_the_key_network_starts_equal_and_gets_no_gradient(moco):
    for query, key in zip(moco.f_q.parameters(), moco.f_k.parameters(), strict=True):
        assert torch.equal(query, key) and not key.requires_grad


def test_logits_by_hand(moco):
    queries = F.normalize(torch.randn(2, 5, dtype=torch.float64), dim=1)
    keys = F.normalize(torch.randn(2, 5, dtype=torch.float64), dim=1)
    logits = moco.logits(queries, keys)
    assert logits.shape == (2, 7)
    for row in range(2):
        assert logits[row, 0].item() == pytest.approx(
            sum(a * b for a, b in zip(queries[row].tolist(), keys[row].tolist(), strict=True)) / 0.2, rel=1e-12
        )
        for column in range(6):
            product = sum(a * b for a, b in zip(queries[row].tolist(), moco.queue.memory[column].tolist(), strict=True))
            assert logits[row, 1 + column].item() == pytest.approx(product / 0.2, rel=1e-12)


@pytest.mark.parametrize("rank", [0, 1])
def test_logits_with_the_steps_own_keys_by_hand(rank):
    """Two processes of two queries: each query meets the queue and the three keys that are not its positive."""
    moco = make_moco("queue+batch", rank, world_size=2)
    queries = F.normalize(torch.randn(2, 5, dtype=torch.float64), dim=1).requires_grad_()
    keys = F.normalize(torch.randn(4, 5, dtype=torch.float64), dim=1)
    logits = moco.logits(queries, keys)
    assert logits.shape == (2, 1 + 6 + 4)
    # The gradient of -log(e^p / sum e^l) with respect to q is (sum(softmax * key) - positive key) / T.
    gradient = torch.autograd.grad(contrastive_loss(logits) * 2, queries)[0]
    for row in range(2):
        own = 2 * rank + row
        negatives = [*moco.queue.memory, *(key for column, key in enumerate(keys) if column != own)]
        expected = [dot(queries[row], key) / 0.2 for key in (keys[own], *negatives)]
        assert logits[row][logits[row] > -np.inf].tolist() == pytest.approx(expected, rel=1e-12)
        assert logits[row, 7 + own] == -np.inf
        weights = np.exp(expected) / np.exp(expected).sum()
        mean_key = (torch.from_numpy(weights)[:, None] * torch.stack([keys[own], *negatives])).sum(0)
        assert torch.allclose(gradient[row], (mean_key - keys[own]) / 0.2, rtol=1e-12)


def test_unknown_negatives_are_refused():
    with pytest.raises(ValueError, match="unknown negatives 'batch'; one of queue, queue\\+batch"):
        make_moco("batch")


def test_loss_and_accuracy_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    expected = (np.log(np.exp([2, 1, 0]).sum()) - 2 + np.log(np.exp([0, 3, 0]).sum()) - 0) / 2
    assert contrastive_loss(logits).item() == pytest.approx(expected, rel=1e-6)
    assert accuracy(logits).item() == 50


def test_level_loss_by_hand():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, -3.0, 0.0]])
    reached = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.uint8)

    def one_if_reached(x):
        return np.log(1 + np.exp(-x))

    first = one_if_reached(0) + one_if_reached(2) + one_if_reached(1)
    second = one_if_reached(-1) + one_if_reached(3) + one_if_reached(0)
    assert level_loss(logits, reached).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_levels_come_from_the_queries_features():
    torch.manual_seed(0)
    query, key = (ContrastiveNetwork("resnet18", "mlp", 8, n_levels=130) for _ in range(2))
    query.eval()

    def prepare(crops):
        return crops.float() / 255

    moco = MoCo(query, key, KeyQueue(6, 8), 0.2, 0.99, prepare, NodeShuffle(ProcessContext()))
    query_crops, key_crops = crops(0)
    logits, keys, level_logits = moco(query_crops, key_crops, 0)
    assert logits.shape == (4, 7) and keys.shape == (4, 8)
    features = query.encoder(prepare(query_crops))
    expected = features @ query.level_head.weight.T + query.level_head.bias
    assert level_logits.shape == (4, 130) and torch.allclose(level_logits, expected, atol=1e-5)


@pytest.mark.parametrize("negatives", ["queue", "queue+batch"])
def test_two_steps_against_an_independent_calculation(negatives):
    """Loss, weights, moving average and queue of two SGD steps, with the algorithm written out again in plain torch."""
    moco = make_moco(negatives)
    query, key = TinyNetwork().double(), TinyNetwork().double()
    query.load_state_dict(moco.f_q.state_dict())
    key.load_state_dict(moco.f_q.state_dict())
    memory = moco.queue.memory.clone()
    optimizer = torch.optim.SGD(moco.f_q.parameters(), lr=0.5)
    for step in range(2):
        query_crops, key_crops = crops(step)
        logits, keys, _ = moco(query_crops, key_crops, step)
        loss = contrastive_loss(logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moco.advance(keys)

        q, k = query(query_crops.double() / 255)[0], key(key_crops.double() / 255)[0].detach()
        rows = []
        for i in range(4):
            in_batch = [k[j] for j in range(4) if j != i and negatives == "queue+batch"]
            rows.append(torch.stack([q[i] @ k[i], *(q[i] @ negative for negative in (*memory, *in_batch))]))
        similarities = torch.stack(rows)
        expected_loss = -(similarities / 0.2).log_softmax(dim=1)[:, 0].mean()
        gradients = torch.autograd.grad(expected_loss, list(query.parameters()))
        with torch.no_grad():
            for p, g in zip(query.parameters(), gradients, strict=True):
                p -= 0.5 * g
            for p_k, p_q in zip(key.parameters(), query.parameters(), strict=True):
                p_k.copy_(0.99 * p_k + 0.01 * p_q)
        for i in range(4):
            memory[(4 * step + i) % 6] = k[i]
        assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
        assert torch.allclose(moco.queue.memory, memory, rtol=1e-12)
    for ours, theirs in ((moco.f_q, query), (moco.f_k, key)):
        for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.allclose(a.double(), b.double(), rtol=1e-10), name


def test_the_key_networks_batchnorm_is_in_training_mode_and_unaveraged(moco):
    """Keys depend on the batch's own statistics; the running ones move by momentum, not by the moving average."""
    _, key_crops = crops(0)
    before = moco.f_k.norm.running_mean.clone()
    together = moco.embed_keys(key_crops, 0)
    alone = moco.embed_keys(key_crops[:2], 1)
    assert not torch.allclose(together[:2], alone)
    assert not torch.equal(before, moco.f_k.norm.running_mean)


@pytest.mark.slow
def test_losses_are_those_of_a_step_written_plainly():
    """In float64, where the only difference left is the order of sums: channels last, foreach, LARS with the rest."""
    batches = random_batches(3, n_crops=6, size=32)
    ours, plain = (start("resnet18", kind, [], queue_length=64) for kind in (FLOAT64, PLAIN_FLOAT64))
    assert [ours(batch) for batch in batches] == pytest.approx([plain(batch) for batch in batches], rel=1e-12)
