"""Which images a step takes: every one once per epoch, the same for any number of processes and after a restart."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.contrastive.batches import EpochBatches
from learning.distributed.process_group import ProcessContext


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 9))
def test_every_image_once_and_the_same_step_for_any_number_of_processes(n_images, per_process, n_processes, seed):
    batch_size = per_process * n_processes
    together = list(EpochBatches(n_images, batch_size, epochs=2, seed=seed, context=ProcessContext()))
    parts = [
        list(EpochBatches(n_images, batch_size, epochs=2, seed=seed, context=ProcessContext(rank, n_processes)))
        for rank in range(n_processes)
    ]
    assert [list(chain(*step)) for step in zip(*parts, strict=True)] == together
    steps = -(-n_images // batch_size)
    assert len(together) == 2 * steps
    for epoch in (1, 2):
        keys = list(chain(*together[(epoch - 1) * steps : epoch * steps]))
        assert {key[0] for key in keys} == {epoch}
        counts = np.bincount([index for _, index in keys], minlength=n_images)
        assert counts.min() >= 1 and counts.max() - counts.min() <= 1
        # Only the last step is filled up.
        assert len({index for _, index in keys[:n_images]}) == n_images


def test_epochs_and_seeds_differ():
    orders = [
        EpochBatches(50, 5, 3, seed, ProcessContext()).epoch_order(epoch).ravel() for seed in (0, 1) for epoch in (1, 2)
    ]
    assert len({tuple(order) for order in orders}) == 4


def test_a_restart_continues_where_it_stopped():
    whole = list(EpochBatches(23, 4, 3, 0, ProcessContext()))
    rest = EpochBatches(23, 4, 3, 0, ProcessContext(), start_epoch=2, start_step=3)
    assert list(rest) == whole[6 + 3 :] and len(rest) == len(whole[6 + 3 :])


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch_size 7 does not divide over 2"):
        EpochBatches(10, 7, 1, 0, ProcessContext(0, 2))
