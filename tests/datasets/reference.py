"""The distortions without randomness, and jitter's warp, in slow float64, independent of the project's code.

Each takes an image on [0, 1], float64 (H, W, 3), and returns one that is not yet clipped or rounded.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
WHITE = XYZ_FROM_RGB.sum(axis=1)


def rgb_to_lab(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = linear @ XYZ_FROM_RGB.T / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), ratio * 841 / 108 + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def lab_to_rgb(lab):
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    ratio = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 108 / 841)
    linear = np.clip(ratio * WHITE @ np.linalg.inv(XYZ_FROM_RGB).T, 0, None)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _per_channel(image, function):
    return np.stack([function(image[..., channel]) for channel in range(3)], axis=-1)


def gaussian_blur(image, sigma):
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=6)


def lens_blur(image, radius):
    n, half = 101, int(np.ceil(radius))
    offsets = (np.arange(n) - n // 2) / n
    kernel = np.array(
        [
            [np.mean((y + offsets[:, None]) ** 2 + (x + offsets) ** 2 <= radius**2) for x in range(-half, half + 1)]
            for y in range(-half, half + 1)
        ]
    )
    return _per_channel(image, lambda plane: ndimage.convolve(plane, kernel / kernel.sum(), mode="nearest"))


def color_diffusion(image, amount):
    lab = rgb_to_lab(image)
    for channel in (1, 2):
        blurred = ndimage.gaussian_filter(lab[..., channel], 1.5 * amount + 2, mode="nearest")
        lab[..., channel] = amount * blurred
    return lab_to_rgb(lab)


def edge_mask(image):
    def to_unit(values):
        return (values - values.min()) / (values.max() - values.min())

    luma = np.pad(image @ [0.299, 0.587, 0.114], 1, mode="edge")
    gradient = np.hypot(luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2
    mask = to_unit(np.maximum(to_unit(ndimage.gaussian_filter(gradient, 4, mode="nearest")), 0.1))
    return to_unit(np.clip(mask, *np.percentile(mask, (1, 99))))


def saturation_hsv(image, factor):
    value = image.max(axis=-1, keepdims=True)
    return value - factor * (value - image)


def saturation_lab(image, factor):
    return lab_to_rgb(rgb_to_lab(image) * (1, factor, factor))


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def _quadratic_through(middle):
    coefficients = np.linalg.solve(np.vander([0, 0.5, 1], 3), [0, middle, 1])
    return lambda x: np.clip(np.polyval(coefficients, x), 0, 1)


def brighten(image, amount):
    curve = _quadratic_through(0.5 + amount / 2)
    lab = rgb_to_lab(image)
    lab[..., 0] = 100 * curve(lab[..., 0] / 100)
    return (2 * curve(image) + np.clip(lab_to_rgb(lab), 0, 1)) / 3


def darken(image, amount):
    return _quadratic_through(0.5 - amount / 2)(image)


def mean_shift(image, shift):
    return image + shift


def _resize(image, factor, method):
    height, width = image.shape[:2]
    small = (round(width / factor), round(height / factor))

    def down_and_up(plane):
        reduced = Image.fromarray(plane.astype(np.float32)).resize(small, method)
        return np.asarray(reduced.resize((width, height), method), np.float64)

    return _per_channel(image, down_and_up)


def resize_bicubic(image, factor):
    return _resize(image, factor, Image.Resampling.BICUBIC)


def resize_bilinear(image, factor):
    return _resize(image, factor, Image.Resampling.BILINEAR)


def resize_lanczos(image, factor):
    return _resize(image, factor, Image.Resampling.LANCZOS)


def resize_nearest(image, factor):
    return _resize(image, factor, Image.Resampling.NEAREST)


def pixelate(image, amount):
    return _resize(image, 1 / (0.95 - amount**0.6), Image.Resampling.NEAREST)


def sharpen(image, amount):
    lab = rgb_to_lab(image)
    lightness = np.pad(lab[..., 0], 2, mode="edge")
    laplacian = sum(np.gradient(np.gradient(lightness, axis=axis), axis=axis) for axis in (0, 1))
    lab[..., 0] = np.clip(lab[..., 0] - amount * laplacian[2:-2, 2:-2], 0, 100)
    return lab_to_rgb(lab)


def contrast(image, change):
    x = np.array([0, 0.3, 0.5, 0.7, 1])
    y = np.array([0, 0.25 - change / 4, 0.5, 0.75 + change / 4, 1])
    coefficients = np.linalg.lstsq(np.vander(x, 4), y, rcond=None)[0]
    return np.polyval(coefficients, image)


def _keys_cubic(x, a=-0.75):
    """Keys (1981), eq. 4, with OpenCV's slope."""
    x = np.abs(x)
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    return np.where(x <= 1, inner, np.where(x < 2, a * (x**3 - 5 * x**2 + 8 * x - 4), 0))


def cubic_warp(image, displacements):
    """Reads each pixel of (H, W, 3) at a distance of (dx, dy), (H, W, 2): cubic interpolation, edges replicated."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + displacements[..., 0], rows + displacements[..., 1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    taps = range(-1, 3)
    row_weights = [_keys_cubic(y - top - tap) for tap in taps]
    column_weights = [_keys_cubic(x - left - tap) for tap in taps]
    warped = np.zeros_like(image)
    for row, row_weight in zip(taps, row_weights, strict=True):
        for column, column_weight in zip(taps, column_weights, strict=True):
            values = image[np.clip(top + row, 0, height - 1), np.clip(left + column, 0, width - 1)]
            warped += (row_weight * column_weight)[..., None] * values
    return warped
