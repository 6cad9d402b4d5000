"""Dead-leaves images, with which training and scoring run without a download.

Object sizes, edges and occlusions follow the statistics of photographs (Lee, Mumford, Huang, IJCV 2001; as training
images: Baradad et al., NeurIPS 2021).
"""

import cv2
import numpy as np

N_LEAVES = 300
SMALLEST_RADIUS = 2.0
SUPERSAMPLING = 2


def pink_noise(height: int, width: int, rng: np.random.Generator, slope: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power ``slope``; float32 (height, width), variance 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return (noise / noise.std()).astype(np.float32)


def _leaf_outline(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A closed outline about the origin: an ellipse, a rectangle or a smooth irregular shape; (n, 2) pixels."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    kind = rng.integers(3)
    if kind == 0:
        outline = np.stack([np.cos(angle), rng.uniform(0.4, 1) * np.sin(angle)], axis=1)
    elif kind == 1:
        aspect = rng.uniform(0.3, 1)
        outline = np.array([[-1, -aspect], [1, -aspect], [1, aspect], [-1, aspect]])
    else:
        harmonics = np.zeros_like(angle)
        for order in range(2, 7):
            harmonics += rng.normal(0, 0.25 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        outline = (1 + harmonics)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return radius * outline @ rotation.T


def dead_leaves(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """An image of opaque, textured, shaded shapes that cover each other; uint8 RGB (height, width, 3).

    Radii follow the density r^-3, which gives the picture the same statistics at every scale. Each image has its own
    palette, since the objects in a photograph share their light.
    """
    fine = (SUPERSAMPLING * height, SUPERSAMPLING * width)
    lightness = rng.uniform(15, 240, (16, 1))
    palette = np.clip(lightness + rng.normal(0, 12, 3) + rng.normal(0, 22, (16, 3)), 0, 255)
    largest = SUPERSAMPLING * min(width, height) / 2.5
    smallest = SUPERSAMPLING * SMALLEST_RADIUS
    canvas = np.full((*fine, 3), palette[0], np.float32)
    # Inverse of the distribution function of r^-3 between the two radii; large leaves first, so that small ones show.
    uniform = rng.random(N_LEAVES)
    radii = (largest**-2 + uniform * (smallest**-2 - largest**-2)) ** -0.5
    radii[: N_LEAVES // 5] = np.maximum(radii[: N_LEAVES // 5], largest / 6)
    for radius in radii:
        centre = rng.uniform((0, 0), (fine[1], fine[0]))
        outline = np.rint(_leaf_outline(radius, rng) + centre).astype(np.int32)
        color = palette[rng.integers(len(palette))] + rng.normal(0, 8)
        cv2.fillPoly(canvas, [outline], color.tolist())
    texture = rng.uniform(3, 12) * pink_noise(*fine, rng, slope=0.8)
    shading = 1 + rng.uniform(0.05, 0.2) * pink_noise(*fine, rng, slope=2.0)
    lit = (canvas + texture[..., None]) * shading[..., None]
    small = cv2.resize(lit, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
