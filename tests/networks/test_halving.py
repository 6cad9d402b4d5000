"""Half-size images from tensors: Pillow's pixels for 8-bit images, and a gradient."""

import numpy as np
import pytest
import torch

from datasets.images.resampling import half_size_exactly
from networks.halving import half_size
from tests.images import noise_image, photograph


def to_tensor(image: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype) / 255


def levels(images: torch.Tensor) -> np.ndarray:
    return images[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 7, 96, 97, 130])
@pytest.mark.parametrize("width", [1, 2, 3, 9, 64, 101])
def test_8_bit_images_become_pillows(height, width):
    image = noise_image(height, width, seed=height * width)
    halved = half_size(to_tensor(image))
    expected = half_size_exactly(image)
    assert levels(halved).shape == expected.shape
    differences = np.abs(levels(halved).astype(int) - expected)
    if height <= 2 * width:
        # Pillow's weights are rounded to 22 bits, so sums that end in a half may be rounded differently.
        assert differences.max() <= 1 and (differences > 0).sum() <= max(4, 0.01 * differences.size)
    else:
        # Pillow 13 halves such an image's columns first, and clips and rounds in between.
        assert differences.max() <= 24 and (differences > 1).mean() <= 0.25


@pytest.mark.parametrize("height, width", [(240, 320), (241, 321), (240, 321)])
def test_photographs_become_pillows(height, width):
    image = photograph(height, width)
    assert (levels(half_size(to_tensor(image))) != half_size_exactly(image)).mean() < 1e-4


def test_other_images_are_not_rounded():
    image = photograph(96, 128)
    exact = half_size(to_tensor(image, torch.float64) + 0.4 / 255)
    torch_one = torch.nn.functional.interpolate(
        to_tensor(image, torch.float64) + 0.4 / 255, scale_factor=0.5, mode="bicubic", antialias=True
    ).clamp(0, 1)
    assert (exact - torch_one).abs().max() < 1e-3


def test_each_image_of_a_batch_is_treated_alone():
    eight_bit, other = to_tensor(noise_image(31, 44)), to_tensor(noise_image(31, 44)) * 0.7
    together = half_size(torch.cat([eight_bit, other]))
    assert torch.equal(together, torch.cat([half_size(eight_bit), half_size(other)]))


@pytest.mark.parametrize("height, width", [(8, 6), (7, 5), (1, 3)])
def test_it_has_the_right_gradient(height, width):
    images = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(half_size, (0.2 + 0.6 * images).requires_grad_())


def test_8_bit_images_have_the_gradient_of_the_images_around_them():
    image = to_tensor(photograph(32, 48), torch.float64)
    gradients = []
    for shift in (0, 1e-4):
        images = (image + shift).clamp(0.1, 0.9).requires_grad_()
        half_size(images).square().sum().backward()
        gradients.append(images.grad)
    assert (gradients[0] - gradients[1]).abs().max() < 0.05
