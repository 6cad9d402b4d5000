"""Unreadable training images are named, counted, listed, and too many of them stop the run."""

import csv

import pytest

from common.errors import UserError
from datasets.training.quality_aware import QualityAwareDataset
from learning.contrastive.unreadable_images import BAD_IMAGES, N_NAMED, BadImages
from tests.images import write_training_set


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


def test_the_first_are_named_and_all_are_listed(dataset, tmp_path, capsys):
    watch = BadImages(dataset, tmp_path, max_share=0.4, is_first=True)
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
    said += capsys.readouterr().err.splitlines()
    assert sum("unreadable image, replaced" in line for line in said) == N_NAMED
    assert "8 unreadable images replaced so far" in said[-1]
    assert [row["Image_path"].split("/")[-1] for row in listed(tmp_path)] == [f"bad, {index}.jpg" for index in range(8)]


def test_too_many_stop_the_run(dataset, tmp_path):
    watch = BadImages(dataset, tmp_path, max_share=0.1, is_first=True)
    for index in range(12, 20):
        dataset[index]
    with pytest.raises(UserError, match="8 of 20 training images cannot be read, more than --max_bad 10 % allows"):
        watch.check()
    assert len(listed(tmp_path)) == 8
    BadImages(dataset, tmp_path, max_share=0.4, is_first=True).check()


def test_only_the_first_process_writes(dataset, tmp_path, capsys):
    dataset[12]
    BadImages(dataset, tmp_path, 1.0, is_first=False).check()
    assert not capsys.readouterr().err and not (tmp_path / BAD_IMAGES).exists()


def test_a_resumed_run_adds_to_the_list_and_a_new_one_begins_it(dataset, tmp_path):
    dataset[12]
    BadImages(dataset, tmp_path, 1.0, True).check()
    n_bad = len(listed(tmp_path))
    other = QualityAwareDataset(tmp_path / "images" / "train.csv", n_aug=0, n_scale=1, patch_size=16)
    for index in range(13, 20):
        other[index]
    BadImages(other, tmp_path, 1.0, True, resumed=True).check()
    assert len(listed(tmp_path)) == 8 and n_bad < 8
    BadImages(dataset, tmp_path, 1.0, True)
    assert not (tmp_path / BAD_IMAGES).exists()
