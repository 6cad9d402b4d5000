"""Weakly labelled versions: what is drawn, what is written, and that scores follow the levels."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from datasets.distortions import DISTORTIONS, distort
from datasets.images.lists import list_images
from datasets.opinions.scores import read_scores
from datasets.weak_labels import ORDERED, Version, draw_versions, main, write_weak_labels
from networks.errors import UserError
from networks.images.reading import read_image
from tests.images import photograph


def test_every_photograph_kind_and_level_is_drawn_about_equally_often():
    versions = draw_versions(7, 5, 2400, seed=0)
    undistorted, distorted = versions[:5], versions[5:]
    assert {(version.kind, version.level) for version in undistorted} == {(None, 0)}
    assert len({version.photograph for version in undistorted}) == 5, "no photograph twice without distortion"
    used = Counter(version.photograph for version in distorted)
    assert sorted(used) == list(range(7)) and max(used.values()) - min(used.values()) <= 1
    kinds = Counter(version.kind for version in distorted)
    assert set(kinds) == set(ORDERED) and len(ORDERED) == len(DISTORTIONS) - 2
    assert min(kinds.values()) > 60 and max(kinds.values()) < 150, "100 each are expected"
    levels = Counter(version.level for version in distorted)
    assert set(levels) == {1, 2, 3, 4, 5} and min(levels.values()) > 400, "480 each are expected"
    assert versions == draw_versions(7, 5, 2400, seed=0) != draw_versions(7, 5, 2400, seed=1)


def test_images_and_scores_are_those_of_the_drawn_versions(tmp_path):
    (tmp_path / "in").mkdir()
    pictures = {"a.png": np.tile(photograph(80, 265), (1, 2, 1)), "b.png": photograph(64, 48)}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    versions = draw_versions(2, 2, 40, seed=3)
    photographs = list_images(tmp_path / "in").images
    n_unchanged = write_weak_labels(photographs, versions, tmp_path / "out", 4.5, per_level=0.5, seed=3)
    scores = read_scores(tmp_path / "out/mos.csv")
    assert len(scores) == 42
    unchanged = []
    for index, version in enumerate(versions):
        name = sorted(pictures)[version.photograph]
        expected = pictures[name][:, 9:521] if name == "a.png" else pictures[name]
        if version.kind:
            rng = np.random.default_rng((3, index))
            undistorted = np.ascontiguousarray(expected)
            expected = distort(undistorted, version.kind, version.level - 1, rng)
            if np.array_equal(expected, undistorted):
                unchanged.append(index)
        assert np.array_equal(read_image(tmp_path / "out" / scores.images[index]), expected), version
        level = 0 if index in unchanged else version.level
        assert scores.mos[index] == 4.5 - 0.5 * level and scores.groups[index] == name
    assert n_unchanged == len(unchanged) < 10


def test_what_a_distortion_leaves_unchanged_is_undistorted(tmp_path):
    """A change of saturation leaves a grey picture as it is: no score may say that it is worse."""
    grey = np.repeat(photograph(40, 48)[:, :, :1], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    versions = [Version(0, "saturation_hsv", 5), Version(0, "jpeg", 5)]
    out = tmp_path / "out"
    assert write_weak_labels(list_images(tmp_path / "grey.png").images, versions, out, 75, 8, seed=0) == 1
    assert (out / "mos.csv").read_text().splitlines() == [
        "image,mos,group,kind,level", "weak_0000.png,75,grey.png,,", "weak_0001_jpeg_5.png,35,grey.png,jpeg,5",
    ]  # fmt: skip
    assert np.array_equal(read_image(out / "weak_0000.png"), grey)


def test_a_photograph_that_cannot_be_read_leaves_nothing(tmp_path):
    Image.fromarray(photograph(40, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    photographs = list_images([tmp_path / "a.png", tmp_path / "b.png"]).images
    with pytest.raises(UserError, match=r"b\.png cannot be read"):
        write_weak_labels(photographs, draw_versions(2, 2, 2, 0), tmp_path / "new/out", 75, 8, 0)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    Image.fromarray(photograph(40, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        write_weak_labels(list_images(tmp_path).images, draw_versions(1, 1, 2, 0), tmp_path, 75, 8, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (("--distorted", "-1"), "--distorted and --seed must be at least 0"),
        (("--best", "nan"), "--best and --per_level must be finite"),
        (("--per_level", "0"), "not 0, which scores all levels alike"),
        (("--seed", "-1"), "--seed must be at least 0"),
        (("--undistorted", "0", "--distorted", "0"), "not both numbers of images 0"),
    ],
)
def test_a_mistake_in_the_options_is_a_sentence(tmp_path, monkeypatch, capsys, mistake, sentence):
    monkeypatch.setattr(sys, "argv", ["weak_labels", str(tmp_path), str(tmp_path / "o"), *mistake])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and sentence in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.processes
def test_a_mistake_is_a_sentence(tmp_path):
    command = [sys.executable, "-m", "datasets.weak_labels"]
    done = subprocess.run([*command, tmp_path / "none", tmp_path / "o"], capture_output=True, text=True)
    assert done.returncode == 1 and f"photographs {tmp_path / 'none'} does not exist" in done.stderr
    Image.fromarray(photograph(40, 40)).save(tmp_path / "a.png")
    done = subprocess.run([*command, tmp_path, tmp_path / "o"], capture_output=True, text=True)
    assert done.returncode == 1 and "its images would be photographs of the next run" in done.stderr
    (tmp_path / "in/notes").mkdir(parents=True)
    (tmp_path / "a.png").rename(tmp_path / "in/a.png")
    (tmp_path / "in/notes/readme.txt").write_text("none")
    command += [tmp_path / "in", tmp_path / "o", "--distorted", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "photographs 1, undistorted images 1, distorted images 2" in done.stdout
    assert "1 left out" in done.stdout, done.stdout
