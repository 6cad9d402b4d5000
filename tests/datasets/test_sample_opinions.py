"""The embedded photographs with opinion scores are complete, readable and spread over the scale."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.images import read_image
from datasets.opinions.scores import read_scores
from datasets.sample_opinions import N_PHOTOGRAPHS, write_sample_opinions
from tests.images import noise_image

EMBEDDED = Path(__file__).parents[2] / "sample_data" / "clive"


def test_every_embedded_score_has_a_photograph_and_the_notice_is_kept():
    scores = read_scores(EMBEDDED / "mos.csv")
    assert len(scores.images) == N_PHOTOGRAPHS and scores.mos.min() < 10 and scores.mos.max() > 90
    for image in scores.images[::20]:
        assert min(read_image(EMBEDDED / image).shape[:2]) >= 400
    assert {path.name for path in (EMBEDDED / "images").iterdir()} == {Path(image).name for image in scores.images}
    assert "University of Texas at Austin" in (EMBEDDED / "NOTICE.txt").read_text()


def test_photographs_are_chosen_evenly_over_the_ranking(tmp_path):
    rows = ["image,mos"]
    for index, mos in enumerate(np.random.default_rng(0).permutation(30)):
        Image.fromarray(noise_image(16, 24, seed=index)).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{mos}")
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n")
    write_sample_opinions(tmp_path / "all.csv", tmp_path / "few", n_photographs=4)
    scores = read_scores(tmp_path / "few" / "mos.csv")
    assert sorted(scores.mos) == [0, 10, 19, 29]
    assert all(read_image(tmp_path / "few" / image).shape == (16, 24, 3) for image in scores.images)
