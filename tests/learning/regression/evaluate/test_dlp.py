"""The D-, L- and P-test: hand-made scores with known values, and the command from photographs to table."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from datasets.distortions import DISTORTIONS, N_LEVELS
from learning.regression.dlp_tests import parse_dlp_options
from learning.regression.evaluate import dlp
from learning.regression.evaluate.dlp import (
    discriminability,
    dlp_results,
    preference_consistency,
    ranking_consistencies,
    run_dlp_tests,
    score_photograph,
    versions,
)
from tests.images import photograph

KINDS = {"first": True, "second": True, "unordered": False}


def scores_of(function, n=4):
    """Scores of ``n`` photographs by ``function(photograph, level)``, where the photograph itself has level -1."""
    undistorted = np.array([function(photo, -1) for photo in range(n)], float)
    one = np.array([[function(photo, level) for level in range(N_LEVELS)] for photo in range(n)], float)
    distorted = np.repeat(one[:, None], len(KINDS), axis=1)
    return undistorted, distorted, np.zeros(distorted.shape, bool), KINDS


@pytest.mark.parametrize(
    ("function", "d", "l", "p"),
    [
        (lambda photo, level: -level, 1.0, 1.0, 1.0),
        (lambda photo, level: 7, 0.5, 0.0, 0.0),
        (lambda photo, level: level, 0.5, -1.0, 0.0),
        # The content counts more than the level: each list is right; of the pairs, those of two photographs depend on
        # the order of the photographs alone, 4 of one photograph and 6 of 12 others: 10 of 16.
        (lambda photo, level: 10 * photo - level, None, 1.0, 10 / 16),
    ],
    ids=["perfect", "constant", "reversed", "content"],
)
def test_scorers_with_known_results(function, d, l, p):  # noqa: E741
    overall, first, second, unordered = dlp_results(*scores_of(function))
    for one, n_kinds in ((overall, 2), (first, 1), (second, 1)):
        assert one.l == pytest.approx(l) and one.p == pytest.approx(p)
        assert d is None or one.d == d
        assert (one.n_lists, one.n_pairs) == (4 * n_kinds, 3 * 16 * n_kinds), "levels 0-3, 0-4 and 1-4"
    assert overall.n_distorted == 60 and [one.kind for one in (overall, first, second)] == ["all", "first", "second"]
    assert unordered.l is None and unordered.p is None and unordered.n_pairs == 0
    assert unordered.d is not None, "a kind without order can still be told from the photographs"


def test_discriminability_by_trying_every_threshold():
    rng = np.random.default_rng(0)
    for _ in range(20):
        good, bad = rng.integers(0, 12, 7).astype(float) + 2, rng.integers(0, 12, 30).astype(float)
        tried = [((good >= t).mean() + (bad < t).mean()) / 2 for t in np.arange(-1, 16, 0.5)]
        assert discriminability(good, bad) == pytest.approx(max(tried))
    assert discriminability(np.array([1.0]), np.array([1.0])) == 0.5


def test_preferences_by_counting_every_pair():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (5, N_LEVELS)).astype(float)
    unchanged = rng.random(scores.shape) < 0.2
    pairs = [
        scores[a, i] > scores[b, j]
        for a in range(5)
        for b in range(5)
        for i in range(N_LEVELS)
        for j in range(i + 3, N_LEVELS)
        if not unchanged[b, j]
    ]
    assert preference_consistency(scores, unchanged) == (sum(pairs), len(pairs))


def test_lists_are_correlated_with_the_levels_by_scipy():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(6, N_LEVELS))
    expected = [spearmanr(row, [5, 4, 3, 2, 1]).statistic for row in scores]
    assert ranking_consistencies(scores, np.zeros(scores.shape, bool)) == pytest.approx(expected)


def test_unchanged_versions_are_one_image():
    scores = np.array([[9.0, 9, 7, 5, 6], [3, 3, 3, 3, 3], [5, 4, 5, 3, 2]])
    unchanged = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]], bool)
    expected = [spearmanr([9, 7, 5, 6], [4, 3, 2, 1]).statistic, spearmanr(scores[2], [5, 4, 3, 2, 1]).statistic]
    assert ranking_consistencies(scores, unchanged) == pytest.approx(expected), "the grey photograph has no list"
    overall = dlp_results(np.array([9.0, 3, 5]), scores[:, None], unchanged[:, None], {"one": True})[0]
    assert overall.n_distorted == 7 and overall.n_lists == 2 and overall.n_pairs == 3 * 2 * 3
    nothing = dlp_results(np.zeros(2), np.zeros((2, 1, 5)), np.ones((2, 1, 5), bool), {"one": True})[1]
    assert (nothing.d, nothing.l, nothing.p) == (None, None, None)


def squared_errors(image, kind):
    return [((version.astype(float) - image) ** 2).mean() for version in versions(image, kind, seed=0)]


def test_kinds_are_ordered_where_the_distortion_grows_with_the_level():
    image = photograph(120, 160)
    unordered = {name for name, kind in DISTORTIONS.items() if not kind.ordered}
    assert unordered == {"mean_shift", "contrast"}
    for kind in unordered:
        errors = squared_errors(image, kind)
        assert errors[0] > errors[2] < errors[4], "from one side of no change to the other"
    for kind in ("gaussian_blur", "jpeg", "darken", "saturation_hsv", "denoise", "motion_blur", "gaussian_noise"):
        assert (np.diff(squared_errors(image, kind)) > 0).all(), kind


def brightness(images):
    return np.array([image.mean() for image in images])


def test_versions_depend_on_the_pixels_and_the_seed_alone():
    image = photograph(60, 80)
    for kind in ("impulse_noise", "gaussian_noise", "motion_blur"):
        first, again, other = (versions(image, kind, seed) for seed in (0, 0, 1))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert kind == "motion_blur" or not np.array_equal(first[4], other[4])
    undistorted, distorted, unchanged = score_photograph(image, brightness, 0)
    row = list(DISTORTIONS).index("mean_shift")
    assert unchanged[row].tolist() == [False, False, True, False, False]
    assert distorted[row, 2] == undistorted == image.mean()
    expected = [version.mean() for version in versions(image, "jpeg", 0)]
    assert distorted[list(DISTORTIONS).index("jpeg")].tolist() == expected


@pytest.mark.slow
def test_the_command_from_photographs_to_table(tmp_path, monkeypatch, capsys):
    """The embedded model; an unreadable photograph. Of the kinds, five: two have no order, and one changes nothing."""
    monkeypatch.chdir(tmp_path)
    assert list(dlp.ORDERED) == list(DISTORTIONS)
    kinds = ("gaussian_blur", "jpeg", "color_block", "mean_shift", "contrast")
    monkeypatch.setattr(dlp, "ORDERED", {kind: DISTORTIONS[kind].ordered for kind in kinds})
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph(48, 64)).save("photos/a.png")
    Image.fromarray(photograph(90, 64, top=20)).save("photos/b.png")
    (tmp_path / "photos/broken.jpg").write_text("no image")
    arguments = ["--input", "photos", "--output", "t.csv", "--max_side", "64", "--device", "cpu"]
    assert run_dlp_tests(parse_dlp_options(arguments)) == 1
    printed = capsys.readouterr()
    assert "broken.jpg" in printed.err and "2 photographs" in printed.out
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["all", *kinds]
    assert 0.5 <= float(rows[0]["d"]) <= 1
    lists = {row["kind"]: row["n_lists"] for row in rows}
    assert lists["jpeg"] == "2" and lists["contrast"] == "0"
    assert lists["color_block"] == "0", "photographs as small as these get no block at any level"
    assert lists["all"] == str(2 * 2)


def test_another_ending_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_dlp_options(["--input", "photos", "--output", "t.txt"])
    assert "--output t.txt: the name must end in .csv" in capsys.readouterr().err
