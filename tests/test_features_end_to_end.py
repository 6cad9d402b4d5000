"""The feature scripts as a person runs them: a file, a folder, several processes, interruptions, mistakes."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from networks import build_encoder
from tests import runs
from tests.images import photograph

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ckpt") / "encoder.pth"
    torch.save(build_encoder("resnet18").state_dict(), path)
    return path


@pytest.fixture
def images(tmp_path):
    """Seven images of three sizes, two with equal stems, and one that is none."""
    folder = tmp_path / "images"
    for name, height, width in (
        ("a.png", 48, 64), ("a.jpg", 48, 64), ("b.png", 64, 48), ("sub/a.png", 48, 64), ("sub/c d.png", 40, 40),
        ("tiny.png", 1, 1), ("wide.png", 3, 90),
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(height, width)).save(folder / name)
    (folder / "broken.jpg").write_text("no image")
    return folder


EXPECTED = ["a.jpg", "a.png", "b", "sub/a", "sub/c d", "tiny", "wide"]


def run(kind, *arguments, **options):
    return runs.run(f"demo_{kind}_feats.py", "--head", "mlp", *arguments, **options)


def written(folder, kind):
    ending = f"_{kind}_features.npy"
    root = folder / f"feats_{kind}"
    return sorted(str(path.relative_to(root)).removesuffix(ending) for path in root.rglob("*.npy"))


def load(folder, kind, name):
    return np.load(folder / f"feats_{kind}" / f"{name}_{kind}_features.npy", allow_pickle=False)


def test_as_published_with_the_checkpoint_in_its_place(tmp_path):
    """The one command of the README, with a ResNet-50 in re-iqa_ckpts/ and nothing else."""
    (tmp_path / "re-iqa_ckpts").mkdir()
    torch.save(build_encoder("resnet50").state_dict(), tmp_path / "re-iqa_ckpts" / "content_aware_r50.pth")
    done = run("content_aware", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    features = load(tmp_path, "content_aware", "china")
    assert features.shape == (1, 4096) and features.dtype == np.float32 and np.isfinite(features).all()
    embedded = run("quality_aware", cwd=tmp_path)
    assert "quality_aware encoder: the embedded one, --pooling stages_differences" in embedded.stdout
    assert embedded.returncode == 0 and load(tmp_path, "quality_aware", "china").shape == (1, 3840)
    missing = run("quality_aware", "--ckpt", "mine.pth", cwd=tmp_path)
    assert missing.returncode == 1 and "checkpoint mine.pth does not exist" in missing.stderr


def test_a_folder_goes_on_where_it_stopped_and_names_what_failed(checkpoint, images, tmp_path):
    arguments = ("--arch", "resnet18", "--ckpt", checkpoint, "--input", images, "--output_dir", tmp_path)
    first = run("quality_aware", *arguments)
    assert first.returncode == 1 and "broken.jpg cannot be read" in first.stderr
    assert "7 images written" in first.stdout and "1 failed" in first.stdout
    assert written(tmp_path, "quality_aware") == EXPECTED
    kept = tmp_path / "feats_quality_aware" / "b_quality_aware_features.npy"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "feats_quality_aware" / "wide_quality_aware_features.npy").unlink()
    second = run("quality_aware", *arguments)
    assert "1 images written" in second.stdout and "6 existed already" in second.stdout
    assert kept.stat().st_mtime_ns == stamp
    third = run("quality_aware", *arguments, "--overwrite")
    assert "7 images written" in third.stdout and kept.stat().st_mtime_ns != stamp


def test_features_do_not_depend_on_company_or_way(checkpoint, images, tmp_path):
    """Both kinds in one pass, one file, two processes, batches of one: always the same numbers."""
    common = ("--arch", "resnet18", "--ckpt", checkpoint, "--input", images)
    both = ("--both", "--other_ckpt", checkpoint)
    run("quality_aware", *common, *both, "--output_dir", tmp_path / "one")
    outputs, statuses = runs.run_two("demo_quality_aware_feats.py", *common, *both, "--output_dir", tmp_path / "two",
                           "--batch_size", 1)  # fmt: skip
    assert "".join(outputs).count("7 images written") == 1 and statuses == [1, 1]  # one image is broken
    single = run("content_aware", *common, *both, "--single_file", tmp_path / "all.npz")
    assert single.returncode == 1 and not list(tmp_path.glob(".*"))
    with np.load(tmp_path / "all.npz", allow_pickle=False) as archive:
        names = archive["names"].tolist()
        assert names == ["a.jpg", "a.png", "b.png", "sub/a.png", "sub/c d.png", "tiny.png", "wide.png"]
        assert (archive["size"] > 0).all() and all(len(digest) == 64 for digest in archive["sha256"])
        for kind in ("quality_aware", "content_aware"):
            assert written(tmp_path / "two", kind) == EXPECTED
            assert archive[kind].shape == (7, 1024) and archive[kind].dtype == np.float32
            for row, name in zip(archive[kind], EXPECTED, strict=True):
                one = load(tmp_path / "one", kind, name)[0]
                np.testing.assert_allclose(load(tmp_path / "two", kind, name)[0], one, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(row, one, rtol=1e-4, atol=1e-5)
    assert not np.allclose(load(tmp_path / "one", "quality_aware", "b"), load(tmp_path / "one", "content_aware", "b"))
    again = run("content_aware", *common, "--single_file", tmp_path / "all.npz")
    assert again.returncode == 1 and "--overwrite" in again.stderr


def test_interrupted_it_goes_on_without_half_files(checkpoint, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    Image.fromarray(photograph(300, 400)).save(folder / "0.png")
    for index in range(1, 400):
        shutil.copy(folder / "0.png", folder / f"{index}.png")
    arguments = ("--arch", "resnet18", "--ckpt", checkpoint, "--input", folder, "--output_dir", tmp_path, "-j", 1)
    process = runs.start(*arguments, script="demo_quality_aware_feats.py", start_new_session=True)
    results = tmp_path / "feats_quality_aware"
    while not results.exists() or len(list(results.glob("*.npy"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "resumes from here" in errors
    done = list(results.glob("*.npy"))
    assert 3 <= len(done) < 400 and all(np.load(path).shape == (1, 1024) for path in done)
    assert not list(results.glob(".*"))


def test_mistakes_get_a_sentence(checkpoint, images, tmp_path):
    for arguments, said in (
        (("--input", images / "none.jpg"), "does not exist"),
        (("--input", images, "--device", "cuda:7"), "--device cuda:7 cannot be used here"),
        (("--input", images, "--single_file", tmp_path / "x.npy"), "must end in .npz"),
        (("--input", images, "--arch", "resnet5"), "invalid choice: 'resnet5'"),
        (("--input", images, "--output_dir", checkpoint), "cannot be written"),
    ):
        done = run("quality_aware", "--arch", "resnet18", "--ckpt", checkpoint, *arguments)
        assert done.returncode not in (0, None) and said in done.stderr, json.dumps([*map(str, arguments), done.stderr])
