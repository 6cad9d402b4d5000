"""The 26 distortions: their table, their formulas, their randomness, and that a part equals a cut of the whole."""

import re
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.boxes import Box
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.distortions import __main__ as contact_sheets
from datasets.distortions.color import edge_mask
from datasets.distortions.noise import LONGEST_RUN, draw_gaussian
from datasets.distortions.registry import distort_boxes
from networks.errors import UserError
from tests.datasets import reference
from tests.images import noise_image, photograph

TABLE = {
    "gaussian_blur": (0.1, 0.5, 1, 2, 5),
    "lens_blur": (1, 2, 4, 6, 8),
    "motion_blur": (12, 16, 20, 24, 28),
    "color_diffusion": (1, 3, 6, 8, 12),
    "color_shift": (1, 3, 6, 8, 12),
    "saturation_hsv": (0.4, 0.2, 0.1, 0, -0.4),
    "saturation_lab": (1, 2, 3, 6, 9),
    "jpeg": (70, 43, 36, 24, 7),
    "gaussian_noise": (0.001, 0.002, 0.003, 0.005, 0.01),
    "color_noise": (0.0001, 0.0005, 0.001, 0.002, 0.003),
    "impulse_noise": (0.001, 0.005, 0.01, 0.02, 0.03),
    "multiplicative_noise": (0.001, 0.005, 0.01, 0.02, 0.05),
    "denoise": (0.001, 0.002, 0.003, 0.005, 0.01),
    "brighten": (0.1, 0.2, 0.4, 0.7, 1.1),
    "darken": (0.05, 0.1, 0.2, 0.4, 0.8),
    "mean_shift": (0.15, 0.08, 0, -0.08, -0.15),
    "resize_bicubic": (2, 3, 4, 8, 16),
    "resize_bilinear": (2, 3, 4, 8, 16),
    "resize_lanczos": (2, 3, 4, 8, 16),
    "resize_nearest": (2, 3, 4, 5, 6),
    "sharpen": (1, 2, 3, 6, 12),
    "contrast": (0.3, 0.15, 0, -0.4, -0.6),
    "color_block": (2, 4, 6, 8, 10),
    "pixelate": (0.01, 0.05, 0.1, 0.2, 0.5),
    "non_eccentricity": (20, 40, 60, 80, 100),
    "jitter": (0.05, 0.1, 0.2, 0.5, 1),
}
WITHOUT_RANDOMNESS = [name for name in TABLE if hasattr(reference, name)]
LEVELS = range(N_LEVELS)


def distort_box(image, box, steps, rng):
    (part,) = distort_boxes(image, [[box]], steps, rng)
    return part


def mean_squared_error(a, b):
    return np.mean((a.astype(np.float64) - b) ** 2)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(mean_squared_error(a, b), 1e-9))


def test_the_table_is_kadids():
    assert {name: kind.levels for name, kind in DISTORTIONS.items()} == TABLE


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(TABLE)),
    level=st.sampled_from(LEVELS),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    seed=st.integers(0, 2**32),
)
def test_any_size_in_same_size_out_and_the_input_untouched(name, level, height, width, seed):
    image = noise_image(height, width, seed)
    before = image.copy()
    result = distort(image, name, level, np.random.default_rng(seed))
    assert result.shape == image.shape and result.dtype == np.uint8
    assert np.array_equal(image, before) and not np.shares_memory(result, image)
    assert np.array_equal(result, distort(image, name, level, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", WITHOUT_RANDOMNESS)
def test_agrees_with_the_formula_in_float64(name):
    image = photograph(240, 320)
    for level in LEVELS:
        expected = getattr(reference, name)(image / 255, TABLE[name][level])
        expected = 255 * np.clip(expected, 0, 1)
        result = distort(image, name, level, np.random.default_rng(0))
        assert psnr(result, expected) > 40, f"level {level}: {psnr(result, expected):.1f} dB"


def test_half_of_the_kinds_have_a_reference():
    assert len(WITHOUT_RANDOMNESS) == 16


@pytest.mark.parametrize("name", ["gaussian_noise", "color_noise", "multiplicative_noise"])
@pytest.mark.parametrize("level", LEVELS)
def test_noise_has_the_stated_mean_and_covariance(name, level):
    grey = np.array([100, 140, 120])
    image = np.full((256, 256, 3), grey, np.uint8)
    noise = distort(image, name, level, np.random.default_rng(level)).astype(np.float64) - grey
    variance = TABLE[name][level] * 255**2
    if name == "gaussian_noise":
        expected = variance * np.eye(3)
    elif name == "multiplicative_noise":
        expected = TABLE[name][level] * np.diag(grey**2.0)
    else:
        # ITU-R BT.601, studio range: R = 1.164 Y + 1.596 Cr and so on, for values on [0, 1].
        rgb_from_ycbcr = 255 * np.array(
            [[1 / 219, 0, 1.402 / 224], [1 / 219, -0.344136 / 224, -0.714136 / 224], [1 / 219, 1.772 / 224, 0]]
        )
        expected = variance * rgb_from_ycbcr @ rgb_from_ycbcr.T
    rounding = np.eye(3) / 12
    covariance = np.cov(noise.reshape(-1, 3).T)
    assert np.abs(noise.mean((0, 1))).max() < 4 * np.sqrt(expected.max() / image[..., 0].size) + 0.02
    assert np.abs(covariance - expected - rounding).max() < 0.03 * expected.max()


def test_noise_is_white():
    image = np.full((256, 256, 3), 128, np.uint8)
    noise = distort(image, "gaussian_noise", 4, np.random.default_rng(0)).astype(np.float64) - 128
    spectrum = np.abs(np.fft.fft2(noise[..., 0])) ** 2
    low, high = spectrum[1:64, 1:64].mean(), spectrum[64:128, 64:128].mean()
    assert 0.9 < low / high < 1.1


@pytest.mark.parametrize("count", [LONGEST_RUN // 4, 3 * LONGEST_RUN // 2])
def test_gaussian_values_are_independent_of_each_other_and_between_noises(count):
    """Holds for noises of several runs, too; within a run nothing repeats at any distance."""
    rng = np.random.default_rng(0)
    one, other = (draw_gaussian((count,), 2, rng, mean=1).astype(np.float64) for _ in range(2))
    assert abs(one.mean() - 1) < 5 * 2 / np.sqrt(count) and abs(one.var() / 4 - 1) < 5 * np.sqrt(2 / count)
    assert abs(((one - 1) ** 4).mean() / 16 - 3) < 0.1  # the normal distribution's fourth moment
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)
    spectrum = np.abs(np.fft.rfft(one - 1)) ** 2
    if count <= LONGEST_RUN:
        autocorrelation = np.fft.irfft(spectrum)[1:] / (4 * count)
        assert np.abs(autocorrelation).max() < 7 / np.sqrt(count)


@pytest.mark.parametrize("level", LEVELS)
def test_impulses_are_half_black_half_white(level):
    image = np.full((300, 300, 3), 128, np.uint8)
    result = distort(image, "impulse_noise", level, np.random.default_rng(level))
    share = TABLE["impulse_noise"][level]
    black, white = (result == 0).all(-1).mean(), (result == 255).all(-1).mean()
    assert (result != 128).any(-1).mean() == black + white
    tolerance = 5 * np.sqrt(share / 90_000)
    assert abs(black - share / 2) < tolerance and abs(white - share / 2) < tolerance


def test_denoise_is_noise_smoothed_by_a_gaussian_or_a_box():
    image = np.full((200, 200, 3), 128, np.uint8)
    variance = TABLE["denoise"][4] * 255**2
    # Variance left by a filter: the sum of its squared taps.
    remaining = {"gaussian": variance / (4 * np.pi * 3**2) + 1 / 12, "box": variance / 25 + 1 / 12}
    seen = set()
    for seed in range(12):
        left = distort(image, "denoise", 4, np.random.default_rng(seed)).astype(np.float64)[20:-20, 20:-20].var()
        matching = [name for name, expected in remaining.items() if abs(left - expected) < 0.2 * expected]
        assert len(matching) == 1
        seen.update(matching)
    assert seen == {"gaussian", "box"}


@pytest.mark.parametrize("level", LEVELS)
def test_motion_blur_spreads_a_point_over_a_line_of_that_length(level):
    image = np.zeros((64, 64, 3), np.uint8)
    image[32, 32] = 255
    length = TABLE["motion_blur"][level]
    directions = set()
    for seed in range(8):
        line = distort(image, "motion_blur", level, np.random.default_rng(seed))[..., 0].astype(float)
        rows, columns = np.nonzero(line)
        assert len(set(rows)) == 1 or len(set(columns)) == 1
        directions.add(len(set(rows)) == 1)
        assert length <= len(rows) <= length + 1 and abs(line.max() - 255 / length) < 1
        assert abs(rows.mean() - 32) < 0.01 and abs(columns.mean() - 32) < 0.01
    assert directions == {True, False}


@pytest.mark.parametrize("height, width", [(240, 320), (181, 243)])
def test_the_edge_mask_agrees_with_its_formula_in_float64(height, width):
    image = photograph(height, width)
    assert psnr(255 * edge_mask(image), 255 * reference.edge_mask(image / 255)) > 40


def test_color_shift_moves_green_alone_and_only_at_edges():
    image = np.full((120, 160, 3), 80, np.uint8)
    image[:, 80:] = 200
    for seed in range(6):
        result = distort(image, "color_shift", 4, np.random.default_rng(seed)).astype(int)
        assert np.array_equal(result[..., 0], image[..., 0]) and np.array_equal(result[..., 2], image[..., 2])
        assert np.array_equal(result[:, :40], image[:, :40]) and np.array_equal(result[:, 120:], image[:, 120:])
    assert np.array_equal(distort(np.full_like(image, 90), "color_shift", 4, np.random.default_rng(0))[0, 0], [90] * 3)


@pytest.mark.parametrize("name, changed_area", [("color_block", 32 * 32), ("non_eccentricity", None)])
def test_counts_hold_for_512x384_and_keep_their_density(name, changed_area):
    for height, width in ((384, 512), (192, 256)):
        image = noise_image(height, width)
        for level in LEVELS:
            changed = [
                (distort(image, name, level, np.random.default_rng(seed)) != image).any(-1).mean() for seed in range(30)
            ]
            side = 32 if name == "color_block" else 16
            uncovered = (1 - side * side / (512 * 384)) ** TABLE[name][level]
            assert np.mean(changed) == pytest.approx(1 - uncovered, rel=0.2)


def test_non_eccentricity_moves_patches_at_most_8_pixels():
    y, x = np.mgrid[:128, :256]
    image = np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8)
    result = distort(image, "non_eccentricity", 4, np.random.default_rng(0)).astype(int)
    moved = np.abs(result - image)
    assert moved.max() == 8


@pytest.mark.parametrize("level", LEVELS)
def test_jitter_displaces_by_five_independent_gaussians(level):
    """On a ramp a displaced pixel shows its displacement; each axis adds up five of the stated variance."""
    ramp = np.broadcast_to(np.arange(40, 200, dtype=np.uint8)[None, :, None], (160, 160, 3)).copy()
    displacement = (
        distort(ramp, "jitter", level, np.random.default_rng(level)).astype(float)[30:-30, 30:-30]
        - ramp[30:-30, 30:-30]
    )
    sigma = TABLE["jitter"][level]
    # Each warp after the first interpolates the displacements before it, which averages some of them away.
    assert abs(displacement.mean()) < 0.1
    assert displacement.var() < 5 * sigma**2 + 1 / 12 + 0.02
    if sigma >= 0.5:
        assert displacement.var() > 2 * sigma**2


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_jitter_has_the_moments_of_five_warps(level):
    """Mean and variance of each pixel, and the covariance of neighbours, whether displacements are summed up or not."""
    image, sigma, n_draws = photograph(48, 64), TABLE["jitter"][level], 100

    def five_warps(rng):
        warped = image.astype(np.float64)
        for _ in range(5):
            warped = reference.cubic_warp(warped, rng.normal(0, sigma, (48, 64, 2)))
        return np.rint(np.clip(warped, 0, 255))

    def moments(draw):
        results = np.stack([draw(np.random.default_rng(seed)) for seed in range(n_draws)]).astype(np.float32)
        deviations = results - results.mean(0)
        beside = (deviations[:, :, 1:] * deviations[:, :, :-1]).mean()
        below = (deviations[:, 1:] * deviations[:, :-1]).mean()
        return results.mean(0), (deviations**2).mean(), np.array([beside, below])

    expected_mean, expected_variance, expected_covariances = moments(five_warps)
    mean, variance, covariances = moments(lambda rng: distort(image, "jitter", level, rng))
    assert mean_squared_error(mean, expected_mean) < 1.2 * (variance + expected_variance) / n_draws
    assert variance == pytest.approx(expected_variance, rel=0.04)
    assert np.abs(covariances - expected_covariances).max() < 0.03 * expected_variance


GETTING_WORSE = sorted(set(TABLE) - {"mean_shift", "contrast"})


@pytest.mark.slow
@pytest.mark.parametrize("name", GETTING_WORSE)
def test_levels_get_worse(name):
    """The exceptions, mean_shift and contrast, go through no change at level 2 in KADID's order."""
    image = photograph(240, 320)

    def error(level):
        results = [distort(image, name, level, np.random.default_rng(seed)) for seed in range(20)]
        return np.mean([mean_squared_error(result, image) for result in results])

    errors = [error(level) for level in LEVELS]
    # Means vary by chance: a larger shift of the green plane may land on a more similar place.
    assert all(after > 0.95 * before for before, after in pairwise(errors))
    assert errors[4] > errors[0]


def draw_box(data, height, width):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    return Box(top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width)))


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(WITHOUT_RANDOMNESS),
    level=st.sampled_from(LEVELS),
    size=st.sampled_from(((192, 256), (240, 320), (181, 243), (96, 48))),
    data=st.data(),
)
def test_a_part_is_a_cut_of_the_whole(name, level, size, data):
    height, width = size
    box = draw_box(data, height, width)
    image = photograph(height, width)
    whole = box.cut(distort(image, name, level, np.random.default_rng(0)))
    part = distort_box(image, box, [(name, level)], np.random.default_rng(0))
    assert part.shape == whole.shape
    assert np.abs(part.astype(int) - whole).max() <= 1


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(WITHOUT_RANDOMNESS), st.sampled_from(LEVELS)), max_size=1), data=st.data()
)
def test_boxes_are_cuts_of_the_whole(steps, data):
    """Wherever the boxes lie: computed together, in groups, and by steps that compute the boxes alone."""
    image = photograph(192, 256)
    shift = ("color_shift", data.draw(st.sampled_from(LEVELS)))
    steps = data.draw(st.sampled_from([steps or [shift], [shift, *steps], [*steps, shift]]))
    groups = [[draw_box(data, 192, 256) for _ in range(2)] for _ in range(2)]
    whole, rng = image, np.random.default_rng(0)
    for name, level in steps:
        whole = distort(whole, name, level, rng)
    parts = distort_boxes(image, groups, steps, np.random.default_rng(0))
    for group, part in zip(groups, parts, strict=True):
        frame = group[0].union(group[1])
        assert part.shape == frame.cut(image).shape
        for box in group:
            difference = box.relative_to(frame).cut(part).astype(int) - box.cut(whole)
            assert np.abs(difference).max() <= len(steps)


SELECTIVE_WITHOUT_RANDOMNESS = [name for name in WITHOUT_RANDOMNESS if DISTORTIONS[name].selective]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(SELECTIVE_WITHOUT_RANDOMNESS), level=st.sampled_from(LEVELS), data=st.data())
def test_all_requested_boxes_are_computed(name, level, data):
    image = photograph(96, 128)
    boxes = [draw_box(data, 96, 128) for _ in range(4)]
    whole = distort(image, name, level, np.random.default_rng(0))
    # New memory often holds the last result, which would hide boxes that were left out.
    with mock.patch("numpy.empty_like", np.zeros_like):
        result = distort(image, name, level, np.random.default_rng(0), boxes)
    for box in boxes:
        # SIMD lanes and the last pixels of a row may round differently.
        assert np.abs(box.cut(result).astype(int) - box.cut(whole)).max() <= 1


@pytest.mark.parametrize("level", [0, 2])
def test_jitter_in_pieces_leaves_the_image_in_place(level):
    """In each box the result is nearest to the image at that place, not beside it."""
    image = photograph(200, 300)
    boxes = [Box(10, 20, 60, 80), Box(120, 40, 190, 110), Box(30, 200, 150, 290)]
    jittered = distort(image, "jitter", level, np.random.default_rng(0), boxes)
    for box in boxes:
        errors = {
            (dx, dy): mean_squared_error(box.cut(jittered), box.cut(np.roll(image, (dy, dx), (0, 1))))
            for dx in range(-2, 3)
            for dy in range(-2, 3)
        }
        assert min(errors, key=errors.get) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(dx=st.sampled_from((-1, 0, 1)), dy=st.sampled_from((-1, 0, 1)), data=st.data())
def test_jitter_in_pieces_reads_each_pixel_where_it_is(dx, dy, data):
    """With one integer displacement for all pixels, five warps move the image by five times that, also across seams."""
    image = photograph(120, 160)
    boxes = [draw_box(data, 120, 160) for _ in range(3)]

    def displace_all(tile, sigma, rng):
        return [np.full((tile.height, tile.width), d, np.float32) for d in (tile.left + dx, tile.top + dy)]

    with mock.patch("datasets.distortions.spatial.draw_displacements", displace_all):
        jittered = distort(image, "jitter", 3, np.random.default_rng(0), boxes)
    rows = np.clip(np.arange(120) + 5 * dy, 0, 119)
    columns = np.clip(np.arange(160) + 5 * dx, 0, 159)
    for box in boxes:
        assert np.array_equal(box.cut(jittered), box.cut(image[rows][:, columns]))


@pytest.mark.parametrize("level", LEVELS)
def test_jitter_of_a_part_is_a_cut_of_the_whole(level):
    """Given the same displacements. Rare pixels at the edge read from further away than planned and may differ."""
    image, box, sigma = photograph(120, 160), Box(30, 40, 90, 120), TABLE["jitter"][level]

    def displacing(part):
        """Draws for each warp one field for the whole image, of which a tile of ``part`` takes its part."""
        numbers = np.random.default_rng(0)

        def draw(tile, warp_sigma, rng):
            field = numbers.normal(0, warp_sigma, (120, 160, 2)).astype(np.float32)
            dx, dy = np.moveaxis(tile.cut(part.cut(field)), -1, 0)
            return [dx + np.float32(tile.left), dy + np.float32(tile.top)]

        return mock.patch("datasets.distortions.spatial.draw_displacements", draw)

    with displacing(Box(0, 0, 120, 160)):
        expected = box.cut(distort(image, "jitter", level, np.random.default_rng(0)))
    with displacing(DISTORTIONS["jitter"].input_box(box, sigma, 120, 160)):
        part = distort_box(image, box, [("jitter", level)], np.random.default_rng(0))
    assert (np.abs(part.astype(int) - expected).max(-1) > 1).mean() < 1e-3


def test_two_steps_in_a_part():
    image, box = photograph(192, 256), Box(40, 50, 140, 180)
    steps = [("gaussian_blur", 3), ("jpeg", 4)]
    whole = distort(distort(image, *steps[0], np.random.default_rng(0)), *steps[1], np.random.default_rng(0))
    part = distort_box(image, box, steps, np.random.default_rng(0))
    assert np.array_equal(part, box.cut(whole))


@pytest.mark.parametrize(
    "image, name, level, message",
    [
        (noise_image(8, 8), "blurr", 0, "unknown distortion 'blurr'"),
        (noise_image(8, 8), "jpeg", 5, "level 5 of jpeg"),
        (noise_image(8, 8).astype(float), "jpeg", 0, "float64"),
        (noise_image(8, 8)[..., 0], "jpeg", 0, "(8, 8)"),
    ],
)
def test_a_wrong_argument_is_named(image, name, level, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        distort(image, name, level, np.random.default_rng(0))


def test_the_contact_sheet_is_drawn(tmp_path):
    Image.fromarray(photograph(120, 160)).save(tmp_path / "in.png")
    arguments = [str(tmp_path / "in.png"), "--sheet"]
    contact_sheets.main([*arguments, str(tmp_path / "sheet.png")])
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.height > 26 * 48 and sheet.width > 6 * 64
    with pytest.raises(UserError, match=r"--sheet .*sheet\.nonsense"):
        contact_sheets.main([*arguments, str(tmp_path / "sheet.nonsense")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "sheet.png"]
