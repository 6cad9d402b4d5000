"""Batches that do not fit into memory, and the number of threads."""

import numpy as np
import pytest
import torch

from datasets.images.lists import FileStamp
from learning.extraction.compute import compute_features, load_extractors
from learning.extraction.decoding import DecodedImage, UnreadableImage
from options.images import ComputeOptions


class SmallMemory:
    """An extractor that raises ``error`` for more than ``n_images`` images at once."""

    def __init__(self, n_images, error):
        self.n_images, self.error = n_images, error

    def __call__(self, images):
        if len(images) > self.n_images:
            raise self.error
        return torch.full((len(images), 1), 3.0)


def compute(n_images, error):
    images = [np.zeros((4, 6, 3), np.uint8)] * 3
    decoded = (DecodedImage(i, f"{i}.png", one, one[:2, :3], FileStamp(1, 2, 3, "")) for i, one in enumerate(images))
    return list(compute_features(decoded, {"given": SmallMemory(n_images, error)}, 3))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_batch_that_does_not_fit_is_computed_image_by_image(error):
    results = compute(1, error)
    assert [result.index for result in results] == [0, 1, 2]
    assert all(result.values["given"].tolist() == [3, 3] for result in results)
    results = compute(0, error)
    assert all(isinstance(result, UnreadableImage) for result in results)
    assert results[1].reason == "image 1.png: its 6x4 pixels do not fit into memory"


def test_an_error_of_the_gpu_is_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="illegal memory access"):
        compute(1, RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("threads, expected", [(None, 2), (1, 1)])
def test_the_number_of_threads_is_the_users(threads, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        load_extractors({}, {}, ComputeOptions(threads=threads, device="cpu"))
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
