"""Which images a step takes: every one once per epoch, the same for any number of processes and after a restart.

Unreadable training images are named, counted, listed, and too many of them stop the run.
"""

import csv
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.training.quality_aware import QualityAwareDataset
from learning.contrastive.setup import BAD_IMAGES, BadImages, epoch_batches
from learning.contrastive.training_state import Position
from learning.distributed.environment import ProcessContext
from networks.errors import UserError
from tests.images import write_training_set

ALONE = ProcessContext()
START = Position()


def batches(n_images, batch_size, epochs, seed, context=ALONE, start=START):
    return list(epoch_batches(n_images, batch_size, epochs, seed, context, start))


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 9))
def test_every_image_once_and_the_same_step_for_any_number_of_processes(n_images, per_process, n_processes, seed):
    batch_size = per_process * n_processes
    together = batches(n_images, batch_size, 2, seed)
    parts = [batches(n_images, batch_size, 2, seed, ProcessContext(rank, n_processes)) for rank in range(n_processes)]
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
    orders = []
    for seed in (0, 1):
        keys = list(chain(*batches(50, 5, 2, seed)))
        orders += [tuple(index for epoch, index in keys if epoch == number) for number in (1, 2)]
    assert len(set(orders)) == 4 and {len(order) for order in orders} == {50}


def test_a_restart_continues_where_it_stopped():
    whole = batches(23, 4, 3, 0)
    assert batches(23, 4, 3, 0, start=Position(1, 3, 9)) == whole[6 + 3 :]


@pytest.fixture
def dataset(tmp_path):
    """Twelve good images and eight bad ones."""
    csv_path = write_training_set(tmp_path / "images", n_images=12)
    with open(csv_path, "a") as file:
        for index in range(8):
            path = tmp_path / "images" / f"bad, {index}.jpg"
            path.write_text("no image")
            file.write(f'"{path}"\n')
    return QualityAwareDataset(csv_path, n_aug=0, n_scale=1, patch_size=16)


def listed(folder):
    with open(folder / BAD_IMAGES, newline="") as file:
        return list(csv.DictReader(file))


def test_the_last_is_named_and_all_are_listed(dataset, tmp_path, capsys):
    watch = BadImages(dataset, tmp_path, 0.4, ALONE)
    watch.check()
    assert not capsys.readouterr().err and not (tmp_path / BAD_IMAGES).exists()
    dataset[12], dataset[3]
    watch.check()
    watch.check()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "line 14: image" in said[0] and "bad, 0.jpg cannot be read" in said[0]
    for index in range(12, 20):
        dataset[index]
    watch.check()
    (said,) = capsys.readouterr().err.splitlines()
    assert "8 unreadable images replaced by others so far" in said and "bad, 7.jpg cannot be read" in said
    assert [row["Image_path"].split("/")[-1] for row in listed(tmp_path)] == [f"bad, {index}.jpg" for index in range(8)]


def test_too_many_stop_the_run(dataset, tmp_path):
    watch = BadImages(dataset, tmp_path, 0.1, ALONE)
    for index in range(12, 20):
        dataset[index]
    with pytest.raises(UserError, match="8 of 20 training images cannot be read, more than --max_bad 10 % allows"):
        watch.check()
    assert len(listed(tmp_path)) == 8
    BadImages(dataset, tmp_path, 0.4, ALONE).check()


def test_only_the_first_process_writes(dataset, tmp_path, capsys):
    dataset[12]
    BadImages(dataset, tmp_path, 1.0, ProcessContext(rank=1)).check()
    assert not capsys.readouterr().err and not (tmp_path / BAD_IMAGES).exists()


def test_a_start_begins_the_list_anew(dataset, tmp_path):
    dataset[12]
    BadImages(dataset, tmp_path, 1.0, ALONE).check()
    assert len(listed(tmp_path)) == 1
    BadImages(dataset, tmp_path, 1.0, ALONE)
    assert not (tmp_path / BAD_IMAGES).exists()
