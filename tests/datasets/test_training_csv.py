"""The training CSV: which images of the published sets count, and what is said about the rest."""

import os
import subprocess
import sys

import pytest

from datasets.training.image_lists import read_training_csv

pytestmark = pytest.mark.processes

LAYOUT = {
    "kadis700k/ref_imgs/a.png": True,
    "kadis700k/dist_imgs/a_01_1.bmp": False,
    "UGC_images/AVA_Dataset/1.jpg": True,
    "UGC_images/train2017/2.jpg": True,
    "UGC_images/blur_image/TrainingSet/Naturally-Blurred/3.jpg": True,
    "UGC_images/blur_image/TrainingSet/Artificially-Blurred/4.jpg": False,
    "UGC_images/blur_image/EvaluationSet/NaturalBlurSet/5.jpg": True,
    "UGC_images/blur_image/EvaluationSet/DigitalBlurSet/6.jpg": False,
    "UGC_images/VOC2012/JPEGImages/7.jpg": True,
    "UGC_images/VOC2012/SegmentationClass/7.png": False,
    "elsewhere/8.jpg": False,
}


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "datasets.training_csv", *map(str, arguments)], capture_output=True, text=True
    )


def test_lists_what_belongs_and_says_what_is_missing(tmp_path):
    for name in LAYOUT:
        path = tmp_path / "training_data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = run(tmp_path / "training_data", tmp_path / "csv_files" / "moco_train.csv")
    assert done.returncode == 0, done.stderr
    listed = {os.fsdecode(path) for path in read_training_csv(tmp_path / "csv_files" / "moco_train.csv").paths}
    assert listed == {str(tmp_path / "training_data" / name) for name, belongs in LAYOUT.items() if belongs}
    rows = {row[:26].strip(): row for row in done.stdout.splitlines()}
    assert "1 of  140,000" in rows["KADIS-700k, pristine"] and "incomplete" in rows["KADIS-700k, pristine"]
    assert "missing" in rows["COCO test2015"]

    assert f"6 images, 4 left out (4 that these sets do not use): {tmp_path}" in done.stdout

    for name in (".thumbnails/t.jpg", "notes.txt", "IMG.CR2"):
        (tmp_path / "training_data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "training_data" / name).touch()
    done = run(tmp_path / "training_data", tmp_path / "all.csv", "--all")
    assert done.stdout.startswith(f"{len(LAYOUT)} images, 3 left out (")
    assert all(reason in done.stdout for reason in ("1 in hidden, thumbnail", "1 with the ending .txt", "1 camera raw"))
    assert done.returncode == 0 and len(read_training_csv(tmp_path / "all.csv").paths) == len(LAYOUT)


def test_mistakes_get_a_sentence_and_no_file(tmp_path):
    for arguments in ((tmp_path / "nowhere", tmp_path / "a.csv"), (tmp_path, tmp_path / "a.csv")):
        done = run(*arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr and str(arguments[0]) in done.stderr
    assert list(tmp_path.iterdir()) == []
    photograph, table = tmp_path / "a.png", tmp_path / "t.csv"
    photograph.write_text("pixels")
    table.write_text("Image_path,licence\na.png,CC0\n")
    done = run("--all", tmp_path, photograph)
    assert done.returncode == 1 and "must end in .csv" in done.stderr, done.stderr
    assert photograph.read_text() == "pixels" and "licence" in table.read_text()
