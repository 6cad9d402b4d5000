"""Scores: one row for each row of the input, for the pixels that are there, whatever the company and the spelling."""

import csv
import hashlib
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learning.regression.evaluate.metrics import metrics_of
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters, PredictionIntervals, RegressorDescription
from learning.regression.model.files import save_regressor
from learning.regression.model.predict import load_pixel_scorer, predict_quality
from networks import build_encoder
from networks.checkpoint_formats import fingerprint
from networks.errors import UserError
from networks.names import with_max_side
from networks.opinion_mapping import IDENTITY
from options.images import parse_prediction_options
from tests.images import noise_image, photograph

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(narrow_networks, tmp_path_factory):
    """A ResNet-18 of quality, a ResNet-34 of content, and a regressor that takes both."""
    folder = tmp_path_factory.mktemp("model")
    encoders = {}
    for seed, (kind, arch) in enumerate((("quality_aware", "resnet18"), ("content_aware", "resnet34"))):
        torch.manual_seed(seed)
        state = build_encoder(arch).state_dict()
        torch.save(state, folder / f"{kind}.pth")
        encoders[kind] = fingerprint(state)
    rng = np.random.default_rng(0)
    features, mos = rng.normal(size=(60, 256)).astype(np.float32), rng.uniform(0, 100, 60)
    save_regressor(folder / "r.skops", fit(features, mos, Hyperparameters("ridge", True, 1.0)), description(encoders))
    return folder


def description(encoders):
    return RegressorDescription(tuple(encoders), encoders, IDENTITY, (0.0, 100.0))


def score(model, *arguments):
    """(status, rows of the CSV as (image, score or None))."""
    out = model / "scores.csv"
    out.unlink(missing_ok=True)
    options = parse_prediction_options(
        ["--regressor", str(model / "r.skops"), "--quality_ckpt", str(model / "quality_aware.pth"), "--content_ckpt",
         str(model / "content_aware.pth"), "--output", str(out), "-j", "0", "--device", "CPU", *map(str, arguments)]
    )  # fmt: skip
    status = predict_quality(options)
    with open(out, newline="") as file:
        return status, [(row["image"], float(row["score"]) if row["score"] else None) for row in csv.DictReader(file)]


def test_several_processes_would_all_score_everything(model, photos, monkeypatch):
    for size in ("2", "two"):
        monkeypatch.setenv("WORLD_SIZE", size)
        with pytest.raises(UserError, match="one process scores all images: give each job a list of its own"):
            score(model, "--input", photos)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(photograph(40, 50, top=30 * index)).save(folder / f"{index}.png")
    return folder


def test_a_page_shows_what_the_table_holds(model, photos, capsys):
    (photos / "broken.jpg").write_text("no image")
    _, rows = score(model, "--input", photos)
    page = photos.parent / "page.html"
    options = parse_prediction_options(
        ["--regressor", str(model / "r.skops"), "--quality_ckpt", str(model / "quality_aware.pth"), "--content_ckpt",
         str(model / "content_aware.pth"), "--output", str(page), "--map", str(photos.parent / "maps"), "-j", "0",
         "--device", "cpu", "--input", str(photos)]
    )  # fmt: skip
    assert predict_quality(options) == 1
    text = page.read_text()
    shown = {name: float(score) for score, name in re.findall(r'data-score="(.*?)" data-name="(.*?)"', text)}
    assert shown == pytest.approx({name: value for name, value in rows if value is not None}, rel=1e-5)
    assert text.count('class="map"') == 3 and "3 images scored, 1 failed" in text and "broken.jpg" in text
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {page}"


def test_one_row_for_each_row_of_the_input(model, photos):
    given = [
        f"{photos}/0.png",
        "../photos/1.png",
        "../photos/missing.png",
        f"{photos}/0.png",
        "../photos/../photos/0.png",
    ]
    lists = photos.parent / "lists"
    lists.mkdir()
    (lists / "l.csv").write_text("image\n" + "\n".join(given) + "\n")
    status, rows = score(model, "--input", lists / "l.csv")
    assert status == 1 and [image for image, _ in rows] == given
    scores = [value for _, value in rows]
    assert scores[2] is None and scores[0] == scores[3] == scores[4] != scores[1]


def calibrated(model, intervals):
    """The regressor of ``model`` once more, with these prediction intervals: its path."""
    shutil.copy(model / "r.safetensors", model / "i.safetensors")
    content = json.loads((model / "r.json").read_text())
    content["prediction_intervals"] = intervals and asdict(intervals)
    (model / "i.json").write_text(json.dumps(content))
    return model / "i.safetensors"


def test_each_score_has_its_interval(model, photos, capsys):
    path = calibrated(model, PredictionIntervals((0.8, 0.9, 0.95), (5.0, 8.5, 11.0), 0.895))
    (photos / "broken.jpg").write_text("no image")
    _, rows = score(model, "--input", photos, "--regressor", path, "--interval", "0.9")
    with open(model / "scores.csv", newline="") as file:
        of_file = list(csv.DictReader(file))
    assert list(of_file[0]) == ["image", "score", "low_0.9", "high_0.9"]
    for (_, value), row in zip(rows[:3], of_file, strict=False):
        assert float(row["low_0.9"]) == pytest.approx(value - 8.5, abs=1e-3)
        assert float(row["high_0.9"]) == pytest.approx(value + 8.5, abs=1e-3)
    assert (of_file[3]["score"], of_file[3]["low_0.9"], of_file[3]["high_0.9"]) == ("", "", "")
    printed = capsys.readouterr().out
    assert "   score    low_0.9   high_0.9  image" in printed
    assert "on held-out images the 90 % interval held 89.5%" in printed
    assert "grade and percentile are left out: an older train_regressor.py" in printed
    first = next(line.split() for line in printed.splitlines() if line.endswith("0.png"))
    expected = [rows[0][1] + end for end in (0, -8.5, 8.5)]
    assert [float(text) for text in first[:3]] == pytest.approx(expected, abs=1e-3)


def test_scores_are_explained_listed_and_selected(model, photos, capsys):
    """By a regressor that records everything; the status says whether an image is below the threshold."""
    path = calibrated(model, PredictionIntervals((0.9,), (8.5,), None))
    about = path.with_suffix(".json")
    record = {"scale": [0.0, 100.0], "quantiles": [0.0, 100.0]}
    about.write_text(json.dumps(json.loads(about.read_text()) | {"opinions": record}))
    rows = sorted(score(model, "--input", photos, "--regressor", path)[1], key=lambda row: row[1])
    _, _ = score(model, "--input", photos, "--regressor", path, "--explain")
    with open(model / "scores.csv", newline="") as file:
        of_file = list(csv.DictReader(file))
    assert list(of_file[0]) == ["image", "score", "low_0.9", "high_0.9", "grade", "percentile"]
    for row in of_file:
        value = np.clip(float(row["score"]), 0, 100)
        assert float(row["percentile"]) == pytest.approx(value, abs=0.06)
        assert row["grade"] == ("Bad", "Poor", "Fair", "Good", "Excellent")[min(int(value / 20), 4)]
    middle = str(np.mean([rows[0][1], rows[1][1]]))
    page, paths = photos.parent / "worst.html", photos.parent / "worst.txt"
    status, below = score(
        model, "--input", photos, "--regressor", path, "--threshold", middle, "--output", page, "--output", paths
    )
    assert status == 3 and below == rows[:1] and paths.read_text() == f"{rows[0][0]}\n"
    assert page.read_text().count("<figure ") == 1 and "1 of 3 images score below" in page.read_text()
    printed = capsys.readouterr().out
    assert "   score      grade  percentile  image" in printed and "1 of 3 images score below" in printed
    assert score(model, "--input", photos, "--regressor", path, "--threshold", "-1000") == (0, [])
    assert score(model, "--input", photos, "--regressor", path, "--best", "40%") == (0, rows[:0:-1])
    (photos / "broken.jpg").write_text("no image")
    assert score(model, "--input", photos, "--regressor", path, "--threshold", middle)[0] == 1


def test_labels_that_fit_no_image_are_refused_before_the_scoring(model, photos):
    (photos / "labels.csv").write_text("image,mos\na.png,1\n1.png,2\n")
    with pytest.raises(UserError, match=r"1 images of --labels .* lists a\.png, and the input includes 0\.png"):
        score(model, "--input", photos, "--labels", photos / "labels.csv", "--quality_ckpt", "missing.pth")


@pytest.mark.parametrize(("fitted", "n_rest"), [("2.png", 2), ("1.png 2.png", 1), ("", 3)])
def test_labelled_images_of_the_fit_are_counted_and_left_out(model, photos, capsys, fitted, n_rest):
    """The record is of their content: the names may differ."""
    shutil.copy(model / "r.safetensors", model / "fitted.safetensors")
    digests = [hashlib.sha256((photos / name).read_bytes()).hexdigest()[:16] for name in fitted.split()]
    content = json.loads((model / "r.json").read_text()) | {"fit_images": " ".join(digests)}
    (model / "fitted.json").write_text(json.dumps(content))
    (photos / "labels.csv").write_text("image,mos\n0.png,40\n1.png,50\n2.png,45\n")
    _, rows = score(model, "--input", photos, "--regressor", model / "fitted.json", "--labels", photos / "labels.csv")
    printed = capsys.readouterr()
    expected = metrics_of(np.array([value for _, value in rows[:2]]), np.array([40, 50]))
    assert (f"{3 - n_rest} of 3 labelled images were part of the fit" in printed.err) == (n_rest < 3)
    rest = printed.out.partition("against the opinions on the 2 labelled images that were not part of the fit\n")[2]
    assert rest.startswith(f"SRCC {expected.srcc:.4f}  PLCC raw {expected.plcc_raw:.4f}") == (n_rest == 2)


def test_the_interval_is_compared_with_labels(model, photos, capsys):
    path = calibrated(model, PredictionIntervals((0.9,), (8.5,), None))
    _, rows = score(model, "--input", photos)
    offsets = (0, 8, -9)
    lines = [f"{image},{value + offset}" for (image, value), offset in zip(rows, offsets, strict=True)]
    (photos / "labels.csv").write_text("image,mos\n" + "\n".join(lines) + "\n")
    score(model, "--input", photos, "--regressor", path, "--interval", "0.9", "--labels", photos / "labels.csv")
    assert "66.7% of these opinions lie in their interval, at level 0.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("intervals", "level", "sentence"),
    [
        (None, "0.9", "the regressor records no prediction intervals"),
        (PredictionIntervals((0.5, 0.6), (1.0, 2.0), None), "0.9", "no prediction interval at level 0.9: .* is 0.6"),
    ],
)
def test_a_regressor_without_residuals_has_no_interval(model, photos, intervals, level, sentence):
    path = calibrated(model, intervals)
    with pytest.raises(UserError, match=sentence):
        score(model, "--input", photos, "--regressor", path, "--interval", level)


def test_levels_that_are_not_recorded_are_refused(capsys):
    for level in ("0.3", "1", "90"):
        with pytest.raises(SystemExit):
            parse_prediction_options(["--input", "a.png", "--interval", level])
        assert (
            f"argument --interval: '{level}' is not a number, at least 0.5 and at most 0.99" in capsys.readouterr().err
        )


def test_a_closing_line_accounts_for_all_files(model, photos, capsys):
    (photos / "broken.jpg").write_text("no image")
    (photos / "notes.txt").touch()
    (photos / "@eaDir").mkdir()
    shutil.copy(photos / "0.png", photos / "@eaDir")
    status, rows = score(model, "--input", photos)
    expected = [str(photos / name) for name in ("0.png", "1.png", "2.png", "broken.jpg")]
    assert status == 1 and [image for image, _ in rows] == expected
    closing = capsys.readouterr().out.splitlines()[-1]
    assert (
        "3 images scored, 1 failed, 2 left out (1 in hidden, thumbnail or system folders; 1 with the ending .txt)"
        in closing
    )


def test_what_is_read_is_not_overwritten(model, photos):
    table = photos / "list.csv"
    table.write_text("image,camera\n0.png,x\n")
    with pytest.raises(UserError, match=r"list.csv is the file .*list.csv, which is read; name another file"):
        score(model, "--input", table, "--output", table)
    assert table.read_text() == "image,camera\n0.png,x\n"
    with pytest.raises(UserError, match=r"--map .* would be photographs of the next run"):
        score(model, "--input", photos, "--map", photos / "maps")


def test_kept_features_answer_for_their_pixels_alone(model, photos, capsys):
    kept, zero, one, two = photos.parent / "kept", *(str(photos / f"{index}.png") for index in range(3))
    first = dict(score(model, "--input", photos, "--features", kept)[1])
    assert dict(score(model, "--input", photos, "--features", kept)[1]) == first
    shutil.copy(one, zero)
    second = dict(score(model, "--input", photos, "--features", kept)[1])
    assert second[zero] == pytest.approx(first[one], abs=1e-3) and second[two] == first[two]
    assert "1 anew since their files have changed" in capsys.readouterr().out
    Image.open(two).save(photos / "0.bmp")
    third = dict(score(model, "--input", photos / "0.bmp", "--features", kept)[1])
    assert third[str(photos / "0.bmp")] == pytest.approx(first[two], abs=1e-3)


def fitted_at(model, max_side, longer_sides):
    """The regressor of ``model``, as if it was fitted with --max_side on photographs of these sizes: its path."""
    shutil.copy(model / "r.safetensors", model / "sized.safetensors")
    content = json.loads((model / "r.json").read_text()) | {"longer_sides": longer_sides}
    content["encoders"] = {kind: with_max_side(one, max_side) for kind, one in content["encoders"].items()}
    (model / "sized.json").write_text(json.dumps(content))
    return model / "sized.safetensors"


def test_images_are_scored_at_the_size_of_the_fit(model, tmp_path, capsys):
    """Whether they come from files or from memory; the map is of the same size, and kept features too."""
    folder, pixels = tmp_path / "photos", photograph(120, 160)
    folder.mkdir()
    small = np.array(Image.fromarray(pixels).resize((80, 60)))
    for name, one in (("large", pixels), ("small", small)):
        Image.fromarray(one).save(folder / f"{name}.png")
    path = fitted_at(model, 80, (60, 70, 80))
    alone = ("--input", folder, "--regressor", path, "--batch_size", 1)  # company would change the last digits
    _, rows = score(model, *alone, "--features", tmp_path / "f", "--map", tmp_path / "maps")
    (_, large), (_, of_small) = rows
    assert large == of_small and "fit (longer side" not in capsys.readouterr().err
    with Image.open(tmp_path / "maps/large.png.png") as of_large:
        assert of_large.size == (160, 60), "the photograph and its map beside each other"
    options = parse_prediction_options(
        ["--input", str(folder), "--regressor", str(path), "--quality_ckpt", str(model / "quality_aware.pth"),
         "--content_ckpt", str(model / "content_aware.pth")]
    )  # fmt: skip
    scorer = load_pixel_scorer(options, "cpu")
    for image in (pixels, small):
        assert scorer([image]) == pytest.approx([large], rel=1e-5)

    with pytest.raises(UserError, match="holds features computed with --max_side 80, not computed with --max_side 0"):
        score(model, "--input", folder, "--features", tmp_path / "f")
    _, rows = score(model, *alone, "--max_side", "0")
    assert rows[0][1] != large and rows[1][1] == large
    printed = capsys.readouterr().err
    assert "fitted on images of up to 80 pixels" not in printed, "none of the fit was reduced"


def test_images_far_from_the_sizes_of_the_fit_are_named(model, photos, capsys):
    Image.fromarray(photograph(40, 200)).save(photos / "wide.png")
    path = fitted_at(model, None, (50, 60, 80))
    score(model, "--input", photos, "--regressor", path)
    assert (
        "1 of 4 images are far smaller or larger than those of the fit (longer side 50 to 80 pixels): wide.png (200)"
        in (" ".join(capsys.readouterr().err.split()))
    )
    score(model, "--input", photos, "--regressor", path, "--max_side", "80")
    assert "notice" not in capsys.readouterr().err
    score(model, "--input", photos, "--regressor", path, "--max_side", "40")
    printed = capsys.readouterr().err
    assert "fitted on images of up to 80 pixels; scores with this --max_side can be compared with each" in printed


@pytest.fixture(scope="module")
def small_model(narrow_networks, model, tmp_path_factory):
    """A regressor that takes the quality-aware encoder alone."""
    folder = tmp_path_factory.mktemp("small_model")
    shutil.copy(model / "quality_aware.pth", folder)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 128)).astype(np.float32)
    fitted = fit(features, rng.uniform(0, 100, 60), Hyperparameters("ridge", True, 1.0))
    save_regressor(folder / "r.skops", fitted, description({"quality_aware": None}))
    return folder


def test_a_score_depends_on_the_pixels_alone(small_model, tmp_path):
    """Not on batches, workers, the order of files or the spelling of a path: to 1e-5 of the scale of 0 to 100."""
    rng = np.random.default_rng(0)
    for index in range(60):
        height, width = (24, 32) if index % 3 else rng.integers(16, 40, 2)
        Image.fromarray(noise_image(height, width, index)).save(tmp_path / f"{index:03d}.png")
    _, expected = score(small_model, "--input", tmp_path, "--batch_size", 1)
    scores = np.array([value for _, value in expected])
    backwards = [f"{tmp_path}/../{tmp_path.name}/{Path(name).name}" for name, _ in reversed(expected)]
    for arguments in (("--batch_size", 8), ("--batch_size", 3, "-j", 2)):
        assert np.allclose(
            [value for _, value in score(small_model, "--input", tmp_path, *arguments)[1]], scores, atol=1e-3
        )
    _, reversed_rows = score(small_model, "--input", *backwards)
    assert np.allclose([value for _, value in reversed_rows][::-1], scores, atol=1e-3)
