"""Geometry of the crop pair: how far apart, always inside, both directions, mirrored instead of black."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.boxes import Box, disjoint
from datasets.training.crops import mirror_up_to, plan_crops, sample_crop_pair
from tests.images import noise_image


def overlap(a: Box, b: Box) -> float:
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    width = min(a.right, b.right) - max(a.left, b.left)
    return max(0, height) * max(0, width) / (a.height * a.width)


@settings(max_examples=300, deadline=None)
@given(st.integers(5, 224), st.integers(0, 400), st.integers(0, 400), st.integers(0, 2**32))
def test_overlap_is_10_to_30_percent_or_the_least_that_fits(size, room_down, room_right, seed):
    height, width = size + room_down, size + room_right
    query, key = sample_crop_pair(height, width, size, np.random.default_rng(seed))
    for box in (query, key):
        assert box.height == box.width == size
        assert box.top >= 0 and box.left >= 0 and box.bottom <= height and box.right <= width
    share = overlap(query, key)
    least = max(0, size - room_down) * max(0, size - room_right) / size**2
    if least <= 0.30 - 1 / size:
        assert 0.10 - 1e-9 <= share <= 0.30 + 1e-9
    elif least > 0.30:
        assert share == pytest.approx(least)


@pytest.mark.parametrize("height, width", [(160, 600), (600, 160), (384, 512)])
def test_either_axis_in_either_direction(height, width):
    rng = np.random.default_rng(0)
    offsets = []
    for _ in range(600):
        query, key = sample_crop_pair(height, width, 160, rng)
        offsets.append((key.top - query.top, key.left - query.left))
    dy, dx = np.array(offsets).T
    for offset, length in ((dy, height), (dx, width)):
        if length > 160:
            assert abs((offset > 0).sum() - (offset < 0).sum()) < 150
        else:
            assert not offset.any()
    if min(height, width) > 160:
        assert 200 < (np.abs(dy) > np.abs(dx)).sum() < 400


def test_offsets_are_uniform_over_those_allowed():
    """Chi-squared against the enumeration of all allowed offsets, as an independent count."""
    size = 20
    allowed = {
        (dy, dx)
        for dy in range(size)
        for dx in range(size)
        if 0.1 - 1e-12 <= (1 - dy / size) * (1 - dx / size) <= 0.3 + 1e-12
    }
    rng = np.random.default_rng(0)
    counts = dict.fromkeys(allowed, 0)
    n_draws = 200 * len(allowed)
    for _ in range(n_draws):
        query, key = sample_crop_pair(100, 100, size, rng)
        counts[abs(key.top - query.top), abs(key.left - query.left)] += 1
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_squared < len(allowed) + 4 * np.sqrt(2 * len(allowed))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_mirroring_reaches_the_size_with_the_images_own_pixels(height, width, least_height, least_width):
    image = noise_image(height, width) | 1  # no pixel is black
    mirrored = mirror_up_to(image, least_height, least_width)
    assert mirrored.shape == (max(height, least_height), max(width, least_width), 3)
    assert mirrored.min() > 0
    top, left = (mirrored.shape[0] - height) // 2, (mirrored.shape[1] - width) // 2
    assert np.array_equal(mirrored[top : top + height, left : left + width], image)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from((1, 2)), st.integers(32, 160), st.integers(0, 99))
def test_a_plan_names_a_source_inside_the_image(height, width, factor, size, seed):
    plan = plan_crops(height, width, factor, size, np.random.default_rng(seed))
    for source in (*plan.sources, plan.source):
        assert 0 <= source.top < source.bottom <= height
        assert 0 <= source.left < source.right <= width


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2), min_size=1, max_size=5))
def test_disjoint_boxes_hold_every_pixel_once_and_few_others(corners):
    boxes = [Box(top, left, top + height, left + width) for top, left, height, width in corners]
    requested, counts = np.zeros((24, 24), int), np.zeros((24, 24), int)
    for box in boxes:
        box.cut(requested)[...] = 1
    for box in disjoint(boxes):
        box.cut(counts)[...] += 1
    assert counts.max() == 1 and (counts >= requested).all()
    assert requested.sum() >= 0.9 * counts.sum()


def test_touching_boxes_become_one():
    assert disjoint([Box(0, 0, 4, 8), Box(4, 0, 9, 8), Box(0, 8, 9, 12)]) == [Box(0, 0, 9, 12)]
