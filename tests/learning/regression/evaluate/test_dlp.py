"""The D-, L- and P-test: hand-made scores with known values, and the command from photographs to table."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from datasets.distortions import DISTORTIONS, N_LEVELS
from learning.regression.dlp_tests import run_tests
from learning.regression.evaluate.dlp import (
    DlpScores,
    discriminability,
    dlp_results,
    preference_consistency,
    ranking_consistencies,
)
from learning.regression.evaluate.dlp_scores import (
    ScoresFile,
    photograph_key,
    read_photographs,
    reduced,
    score_photograph,
    together,
    versions,
)
from options.dlp_tests import parse_dlp_options
from tests.images import photograph

KINDS = ("first", "second", "unordered")


def scores_of(function, n=4):
    """Scores of ``n`` photographs by ``function(photograph, level)``, where the photograph itself has level -1."""
    undistorted = np.array([function(photo, -1) for photo in range(n)], float)
    one = np.array([[function(photo, level) for level in range(N_LEVELS)] for photo in range(n)], float)
    distorted = np.repeat(one[:, None], len(KINDS), axis=1)
    return DlpScores(KINDS, np.array([True, True, False]), undistorted, distorted, np.zeros(distorted.shape, bool))


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
    overall, first, second, unordered = dlp_results(scores_of(function))
    for one, n_kinds in ((overall, 2), (first, 1), (second, 1)):
        assert one.l == pytest.approx(l) and one.p == pytest.approx(p)
        assert d is None or one.d == d
        assert (one.n_lists, one.n_pairs) == (4 * n_kinds, 3 * 16 * n_kinds), "levels 0-3, 0-4 and 1-4"
    assert overall.n_distorted == 60 and [one.label for one in (overall, first, second)] == ["all", "first", "second"]
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
    every = DlpScores(("one",), np.array([True]), np.array([9.0, 3, 5]), scores[:, None], unchanged[:, None])
    overall = dlp_results(every)[0]
    assert overall.n_distorted == 7 and overall.n_lists == 2 and overall.n_pairs == 3 * 2 * 3
    nothing = DlpScores(("one",), np.array([True]), np.zeros(2), np.zeros((2, 1, 5)), np.ones((2, 1, 5), bool))
    assert (dlp_results(nothing)[1].d, dlp_results(nothing)[1].l, dlp_results(nothing)[1].p) == (None, None, None)


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
    scores = score_photograph(image, brightness, "key", 0)
    row = list(DISTORTIONS).index("mean_shift")
    assert scores.unchanged[row].tolist() == [False, False, True, False, False]
    assert scores.distorted[row, 2] == scores.undistorted == image.mean()
    expected = [version.mean() for version in versions(image, "jpeg", 0)]
    assert scores.distorted[list(DISTORTIONS).index("jpeg")].tolist() == expected
    keys = {photograph_key(pixels, model, seed) for pixels in (image, image[1:]) for model in "ab" for seed in (0, 1)}
    assert len(keys) == 8


def test_large_photographs_are_reduced():
    assert reduced(photograph(50, 100), 40).shape == (20, 40, 3)
    small = photograph(30, 40)
    assert reduced(small, 40) is small


def test_scores_come_back_from_the_file(tmp_path):
    path = tmp_path / "s.csv"
    file = ScoresFile(path)
    both = [score_photograph(photograph(40, 50, top=top), brightness, f"key{top}", 0) for top in (0, 30)]
    for name, scores in zip(("a,.png", "\udcff.png"), both, strict=True):
        file.add(name, scores)
    file.save()
    again = ScoresFile(path)
    assert again.find("a,.png", "other key") is None and again.find("b.png", "key0") is None
    for name, scores in zip(("a,.png", "\udcff.png"), both, strict=True):
        found = again.find(name, scores.key)
        assert found.undistorted == scores.undistorted and np.array_equal(found.distorted, scores.distorted)
        assert np.array_equal(found.unchanged, scores.unchanged)
    assert together(both).distorted.shape == (2, len(DISTORTIONS), N_LEVELS)
    lines = path.read_text(errors="surrogateescape").splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n", errors="surrogateescape")
    assert list(read_photographs(path)) == [("a,.png", "key0")], "an incomplete photograph is computed again"
    again.add("a,.png", replace(both[0], key="another model"))
    again.save()
    kept = [("a,.png", "key0"), ("\udcff.png", "key30"), ("a,.png", "another model")]
    assert list(read_photographs(path)) == kept, "the scores of another model replace none"


def test_the_command_from_photographs_to_table(tmp_path, monkeypatch, capsys):
    """The embedded model; an unreadable photograph; a second run that computes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph(48, 64)).save("photos/a.png")
    Image.fromarray(photograph(90, 64, top=20)).save("photos/b.png")
    (tmp_path / "photos/broken.jpg").write_text("no image")
    arguments = ["--input", "photos", "--scores", "s.csv", "--output", "t.csv", "--max_side", "64", "--device", "cpu"]
    assert run_tests(parse_dlp_options(arguments)) == 1
    printed = capsys.readouterr()
    assert "broken.jpg" in printed.err and "2 photographs" in printed.out
    assert "photographs reduced to a long side of 64 pixels: 1" in printed.out
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["all", *DISTORTIONS]
    assert 0.5 <= float(rows[0]["d"]) <= 1
    lists = {row["kind"]: row["n_lists"] for row in rows}
    assert lists["jpeg"] == "2" and lists["contrast"] == "0"
    assert lists["color_block"] == "0", "photographs as small as these get no block at any level"
    assert lists["all"] == str(2 * 23)
    written, table = (tmp_path / "s.csv").read_bytes(), (tmp_path / "t.csv").read_bytes()

    def no_score(self, images):
        raise AssertionError("computed again")

    monkeypatch.setattr("learning.regression.model.pixel_scorer.PixelScorer.__call__", no_score)
    assert run_tests(parse_dlp_options(arguments)) == 1
    assert (tmp_path / "s.csv").read_bytes() == written and (tmp_path / "t.csv").read_bytes() == table
    with pytest.raises(AssertionError, match="computed again"):
        run_tests(parse_dlp_options([*arguments, "--seed", "1"]))


def test_an_interrupted_run_keeps_its_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, top in (("a.png", 0), ("b.png", 20)):
        Image.fromarray(photograph(40, 50, top=top)).save(name)
    from learning.regression.model import pixel_scorer

    real, calls = pixel_scorer.PixelScorer.__call__, []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) > len(DISTORTIONS) + 3:
            raise KeyboardInterrupt
        return real(self, images)

    monkeypatch.setattr(pixel_scorer.PixelScorer, "__call__", interrupted)
    options = parse_dlp_options(["--input", "a.png", "b.png", "--scores", "s.csv", "--device", "cpu"])
    with pytest.raises(KeyboardInterrupt):
        run_tests(options)
    assert [name for name, _ in read_photographs(tmp_path / "s.csv")] == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "t.txt"], "--output t.txt: the name must end in .csv"),
        (["--output", "t.csv", "--scores", "t.csv"], "name the same file"),
    ],
)
def test_contradictory_options_are_refused(arguments, sentence, capsys):
    with pytest.raises(SystemExit):
        parse_dlp_options(["--input", "photos", *arguments])
    assert sentence in capsys.readouterr().err
