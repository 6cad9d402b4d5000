"""The embedded photographs with opinion scores are complete, readable and spread over the scale."""

from pathlib import Path

from datasets.images import read_image
from datasets.opinions.scores import read_scores

EMBEDDED = Path(__file__).parents[3] / "sample_data" / "clive"


def test_every_embedded_score_has_a_photograph_and_the_notice_is_kept():
    scores = read_scores(EMBEDDED / "mos.csv")
    assert len(scores.images) == 120 and scores.mos.min() < 10 and scores.mos.max() > 90
    for image in scores.images[::20]:
        assert min(read_image(EMBEDDED / image).shape[:2]) >= 400
    assert {path.name for path in (EMBEDDED / "images").iterdir()} == {Path(image).name for image in scores.images}
    assert "University of Texas at Austin" in (EMBEDDED / "NOTICE.txt").read_text()
