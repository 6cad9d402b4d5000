"""From images and scores to a regressor, its report and the scores of new images, as an analyst does it."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.distortions import distort
from networks import build_encoder
from tests.dead_leaves import dead_leaves
from tests.runs import run

pytestmark = pytest.mark.processes


def write_scored(folder):
    """8 scenes, each as it is and blurred at 5 levels, with scores that fall as the blur grows."""
    folder.mkdir()
    rows = ["image,mos,group,kind,level"]
    for scene in range(8):
        rng = np.random.default_rng(scene)
        image = dead_leaves(64, 48, rng)
        for score in range(6):
            name = f"scene{scene}_{score}.png"
            version = image if score == 5 else distort(image, "gaussian_blur", 4 - score, rng)
            Image.fromarray(version).save(folder / name)
            rows.append(f"{name},{score},{scene},{'' if score == 5 else 'blur'},{5 - score}")
    (folder / "scores.csv").write_text("\n".join(rows) + "\n")


def train(*arguments, **options):
    return run("train_regressor.py", "--estimator", "ridge", "-j", 1, "--n_bootstrap", 20, *arguments, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two encoders, labelled images, features of both kinds, and a regressor from them."""
    folder = tmp_path_factory.mktemp("regressor")
    torch.manual_seed(0)
    for name in ("quality", "content", "other"):
        torch.save(build_encoder("resnet18").state_dict(), folder / f"{name}.pth")
    write_scored(folder / "scored")
    done = run(
        "demo_quality_aware_feats.py", "--arch", "resnet18", "--ckpt", folder / "quality.pth", "--both",
        "--other_ckpt", folder / "content.pth", "--input", folder / "scored", "--output_dir", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = train("--features", folder, "--scores", folder / "scored/scores.csv", "--output", folder / "r.skops")
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def predict(work, *arguments):
    return run(
        "predict_quality.py", "--arch", "resnet18", "--regressor", work / "r.skops", "--quality_ckpt",
        work / "quality.pth", "--content_ckpt", work / "content.pth", *arguments,
    )  # fmt: skip


def test_the_figures_are_printed_saved_and_reported(work):
    said = (work / "said.txt").read_text()
    about = json.loads((work / "r.json").read_text())
    assert "48 images, 0 to 5, higher is better" in said and "by group (8 groups)" in said
    assert about["kinds"] == ["quality_aware", "content_aware"] and about["score_range"] == [0, 5]
    splits = (about[choice]["splits"] for choice in ("nested", "shared"))
    median, shared = (np.median([metrics["srcc"] for metrics in of_choice]) for of_choice in splits)
    assert said.index("chosen within each split") < said.index("one choice of hyper-parameters for all splits")
    assert f"{shared:8.4f}" in said and about["intervals"]["metrics"]["srcc"]["low"] < median
    assert f"{median:8.4f}" in said and f"{median:.3f}" in (work / "r.html").read_text()
    assert shared > 0.4, "even random filters tell blurred from sharp"
    assert all(len(fingerprint) == 64 for fingerprint in about["encoders"].values())
    assert len(about["shared"]["splits"]) == 10
    assert (work / "r.held_out.csv").read_text().startswith("image,mos,group,split_1")


def test_new_images_are_scored_and_compared_with_labels(work, tmp_path):
    done = predict(
        work, "--input", work / "scored", "--output", tmp_path / "s.csv", "--labels", work / "scored/scores.csv"
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "s.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and "the best and the worst 20 of 48 images" in done.stdout
    assert "48 of 48 labelled images" in done.stdout and "KRCC" in done.stdout
    n_files = len({path.read_bytes() for path in (work / "scored").glob("*.png")})
    assert len(json.loads((work / "r.json").read_text())["fit_images"].split()) == n_files
    assert "48 of 48 labelled images were part of the fit" in done.stderr
    sharp, blurred = (
        [float(row["score"]) for row in rows if row["image"].endswith(end)] for end in ("_5.png", "_0.png")
    )
    assert np.mean(sharp) > np.mean(blurred) + 1


def test_features_from_a_folder_need_no_encoder(work, tmp_path):
    one = predict(work, "--input", work / "scored", "--output", tmp_path / "1.csv")
    other = run(
        "predict_quality.py", "--regressor", work / "r.skops", "--input", work / "scored", "--features", work,
        "--output", tmp_path / "2.csv",
    )  # fmt: skip
    assert one.returncode == other.returncode == 0, other.stderr
    first, second = (
        [float(row["score"]) for row in csv.DictReader((tmp_path / name).open())] for name in ("1.csv", "2.csv")
    )
    assert first == pytest.approx(second, abs=1e-4)


def test_another_encoder_is_refused(work):
    done = run(
        "predict_quality.py", "--arch", "resnet18", "--regressor", work / "r.skops", "--quality_ckpt",
        work / "other.pth", "--content_ckpt", work / "content.pth", "--input", work / "scored",
    )  # fmt: skip
    assert done.returncode == 1 and "the regressor was fitted on quality_aware features of encoder" in done.stderr
    done = run(
        "demo_quality_aware_feats.py", "--arch", "resnet18", "--ckpt", work / "other.pth", "--input", work / "scored",
        "--output_dir", work,
    )  # fmt: skip
    assert done.returncode == 1 and "holds features of encoder " in done.stderr


def test_an_unreadable_image_is_named_and_the_rest_is_scored(work, tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    (tmp_path / "b.png").write_bytes((work / "scored/scene0_0.png").read_bytes())
    done = predict(work, "--input", tmp_path)
    assert done.returncode == 1 and "a.jpg cannot be read" in done.stderr
    assert "b.png" in done.stdout and "1 images scored, 1 failed" in done.stdout


def test_a_single_file_and_one_kind(work, tmp_path):
    done = run(
        "demo_content_aware_feats.py", "--arch", "resnet18", "--ckpt", work / "content.pth", "--input", work / "scored",
        "--single_file", tmp_path / "f.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = train("--features", tmp_path / "f.npz", "--scores", work / "scored/scores.csv", "--no_report",
                 "--output", tmp_path / "r.skops")  # fmt: skip
    assert done.returncode == 0, done.stderr
    own, both = (json.loads((folder / "r.json").read_text()) for folder in (tmp_path, work))
    assert own["kinds"] == ["content_aware"] and not (tmp_path / "r.html").exists()
    assert own["encoders"]["content_aware"] == both["encoders"]["content_aware"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,mos\nscene0_0.png,1\nnone.png,2\n", "1 of 2 images of"),
        ("image,mos\nnone.png,1\n", "has features in"),
        ("image,mos\n" + "".join(f"scene{i}_0.png,3\n" for i in range(4)), "all scores of"),
        ("image,mos\n" + "".join(f"scene{i}_0.png,{i}\n" for i in range(4)), "4 images are too few"),
        ("image,mos,group\n" + "".join(f"scene0_{i}.png,{i},one\n" for i in range(5)), "1 groups are too few"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(work, tmp_path, text, said):
    (tmp_path / "s.csv").write_text(text)
    done = train("--features", work, "--scores", tmp_path / "s.csv", "--output", tmp_path / "r.skops")
    assert done.returncode == 1 and said in done.stderr
    assert not list(tmp_path.glob("r.*")), "something half-written was left"


def test_missing_features_can_be_left_out(work, tmp_path):
    rows = (work / "scored/scores.csv").read_text() + "none.png,3,none,blur,2\n"
    (tmp_path / "s.csv").write_text(rows)
    done = train("--features", work, "--scores", tmp_path / "s.csv", "--output", tmp_path / "r.skops", "--skip_missing")
    assert done.returncode == 0
    assert f"1 images of {tmp_path / 's.csv'} have no features and are left out" in done.stderr
