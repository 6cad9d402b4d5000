"""Decoding processes: every image once and in order, whatever happens to the processes."""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.images.resampling import half_size_exactly
from learning.extraction import decoding
from learning.extraction.decoding import DecodedImage, UnreadableImage, decode_images
from networks.images.reading import read_image
from tests.images import noise_image

pytestmark = pytest.mark.processes


@pytest.fixture
def paths(tmp_path):
    """Forty images of different sizes, the last one larger than a pipe holds, and a file that is none."""
    for index in range(39):
        Image.fromarray(noise_image(20 + index, 30, index)).save(tmp_path / f"{index:02d}.png")
    Image.fromarray(noise_image(700, 900)).save(tmp_path / "39.png")
    (tmp_path / "40.jpg").write_text("no image")
    return [str(path) for path in sorted(tmp_path.iterdir())]


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_every_image_comes_once_and_in_order(paths, n_workers):
    images = list(decode_images(paths, n_workers))
    assert [image.index for image in images] == list(range(41))
    assert isinstance(images.pop(), UnreadableImage)
    for image, path in zip(images, paths, strict=False):
        assert np.array_equal(image.full, read_image(path))
        assert np.array_equal(image.half, half_size_exactly(image.full)) and len(image.stamp.sha256) == 64


@pytest.mark.parametrize("n_workers", [0, 1])
def test_larger_images_are_reduced_as_by_pillow(paths, n_workers):
    *small, large, _ = decode_images(paths, n_workers, max_side=450)
    for image, path in zip(small, paths, strict=False):
        assert np.array_equal(image.full, read_image(path))
    expected = np.array(Image.open(paths[39]).resize((450, 350)))  # of 900x700; bicubic by default, and antialiased
    assert np.array_equal(large.full, expected) and np.array_equal(large.half, half_size_exactly(expected))


def test_few_open_files_suffice(paths):
    """All images may wait for others of their size: they must not keep anything open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 12, before[1]))
    try:
        images = list(decode_images(paths, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(images) == 41


def decode_or_die(paths, monkeypatch, n_times):
    """Has the process that decodes 07.png be killed, the first ``n_times`` times."""
    marks = Path(paths[0] + ".deaths")
    marks.touch()

    def decode(file, path, max_pixels, original=decoding.decode_image):
        if path.endswith("07.png") and marks.stat().st_size < n_times:
            with open(marks, "ab") as mark:
                mark.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(file, path, max_pixels)

    monkeypatch.setattr(decoding, "decode_image", decode)
    return list(decode_images(paths, 2))


def test_a_killed_worker_costs_nothing(paths, monkeypatch, capsys):
    began = time.monotonic()
    images = decode_or_die(paths, monkeypatch, 1)
    assert time.monotonic() - began < 20
    assert [image.index for image in images] == list(range(41)) and isinstance(images[7], DecodedImage)
    assert "a decoding process was killed or crashed; trying 3 images one by one" in capsys.readouterr().err


def test_an_image_that_kills_every_worker_is_named(paths, monkeypatch):
    images = decode_or_die(paths, monkeypatch, 10)
    assert [image.index for image in images] == list(range(41))
    assert [image.index for image in images if isinstance(image, UnreadableImage)] == [7, 40]
    assert "07.png cannot be decoded: the process that tried was killed" in images[7].reason


@pytest.mark.parametrize("n_started", [0, 1])
def test_where_no_worker_can_be_started_this_process_decodes(paths, monkeypatch, capsys, n_started):
    started = []

    def fork(original=os.fork):
        if len(started) == n_started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(original())
        return started[-1]

    monkeypatch.setattr(os, "fork", fork)
    assert [image.index for image in decode_images(paths, 2)] == list(range(41))
    assert "cannot be started (Resource temporarily unavailable); images are" in capsys.readouterr().err
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("n_times", [1, 10])
def test_what_is_too_large_beside_others_is_tried_alone(paths, monkeypatch, n_times):
    marks = Path(paths[0] + ".tried")
    marks.touch()

    def decode(file, path, max_pixels, original=decoding.decode_image):
        if path.endswith("05.png") and marks.stat().st_size < n_times:
            with open(marks, "ab") as mark:
                mark.write(b"x")
            raise MemoryError
        return original(file, path, max_pixels)

    monkeypatch.setattr(decoding, "decode_image", decode)
    images = list(decode_images(paths, 2))
    assert [image.index for image in images] == list(range(41))
    if n_times == 1:
        assert isinstance(images[5], DecodedImage)
    else:
        assert images[5].reason.endswith("05.png does not fit into memory")


def test_the_workers_end_with_the_last_image_and_with_the_generator(paths):
    images = decode_images(paths, 2)
    next(images)
    assert len(multiprocessing.active_children()) == 2
    images.close()
    assert not multiprocessing.active_children()
