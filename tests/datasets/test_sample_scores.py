"""The embedded labelled set is what it says it is."""

import numpy as np

from datasets.images import read_image
from datasets.opinions.scores import read_scores
from datasets.sample_scores import SHOWN, write_sample_scores


def test_every_scene_gets_worse_as_its_score_falls(tmp_path):
    assert write_sample_scores(tmp_path, n_dead_leaves=1) == 9 * (1 + 5 * len(SHOWN))
    scores = read_scores(tmp_path / "scores.csv")
    assert len(set(scores.groups)) == 9 and sorted(set(scores.mos)) == [0, 1, 2, 3, 4, 5]
    images = dict(zip(scores.images, scores.mos, strict=True))
    scene = read_image(tmp_path / "china_0.png").astype(float)
    for name in SHOWN:
        versions = sorted((mos, image) for image, mos in images.items() if image.startswith(f"china_0_{name}"))
        errors = [np.square(read_image(tmp_path / image) - scene).mean() for _, image in versions]
        assert errors == sorted(errors, reverse=True), name


def test_other_scenes_for_another_seed(tmp_path):
    assert write_sample_scores(tmp_path / "a", 1, photographs=False, seed=1) == 11
    write_sample_scores(tmp_path / "b", 1, photographs=False, seed=2)
    first, second = (read_image(tmp_path / name / "leaves_00.png") for name in "ab")
    assert not np.array_equal(first, second)
