"""Names that other programs import: they stay where they are, and take what they take."""

import csv

import numpy as np
import torch
from PIL import Image

from datasets.distortions import DISTORTIONS, distort
from datasets.images import read_image
from datasets.opinions import read_scores
from datasets.training import QualityAwareDataset
from learning.contrastive import LARS, KeyQueue, MoCo
from networks import ContrastiveNetwork, build_encoder, load_encoder
from tests.images import photograph, write_training_set


def test_a_distortion_by_its_name():
    image = photograph(40, 50)
    assert len(DISTORTIONS) == 26 and all(len(kind.levels) == 5 for kind in DISTORTIONS.values())
    changed = distort(image, "gaussian_blur", 4, np.random.default_rng(0))
    assert changed.dtype == np.uint8 and changed.shape == image.shape and (changed != image).any()


def test_samples_of_a_training_csv_by_epoch_and_index(tmp_path):
    csv_path = write_training_set(tmp_path, n_images=2)
    dataset = QualityAwareDataset(
        str(csv_path), n_aug=11, n_scale=2, n_distortions=1, patch_size=32, swap_crops=1, seed=0
    )
    dataset.set_epoch(1)
    first = dataset[0]
    assert len(dataset) == 2 and first.dtype == torch.uint8 and first.shape == (24, 6, 32, 32)
    assert torch.equal(first, dataset[0])
    dataset.set_epoch(2)
    assert not torch.equal(first, dataset[0])


def test_an_image_and_a_table_of_scores(tmp_path):
    Image.fromarray(photograph(40, 50)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), photograph(40, 50))
    with open(tmp_path / "scores.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "mos"], ["a.png", 3], ["b.png", 1]])
    scores = read_scores(tmp_path / "scores.csv", True)
    assert list(scores.images) == ["a.png", "b.png"] and list(scores.mos) == [-3, -1]


def test_the_parts_of_a_training(tmp_path):
    optimizer = LARS([torch.nn.Parameter(torch.ones(3))], lr=0.1, weight_decay=0, momentum=0.9, trust_coefficient=0.001)
    assert optimizer.defaults["lr"] == 0.1
    assert all(isinstance(one, type) for one in (MoCo, KeyQueue, ContrastiveNetwork))
    torch.save(build_encoder("resnet18").state_dict(), tmp_path / "encoder.pth")
    features = load_encoder(tmp_path / "encoder.pth", arch="resnet18").eval()(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 512)
