"""The embedded image set, with which everything runs without a download.

``python -m datasets.sample_images FOLDER`` writes it: dead-leaves images, whose object sizes, edges and occlusions
follow the statistics of photographs (Lee, Mumford, Huang, IJCV 2001; as training images: Baradad et al., NeurIPS
2021), and scikit-learn's two photographs.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from common import log
from common.atomic_files import whole_file
from common.process import run_script

IMAGE_SIZE = (384, 288)
N_LEAVES = 1000
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


def sample_photographs() -> dict[str, np.ndarray]:
    """scikit-learn's two photographs, name -> uint8 RGB (427, 640, 3)."""
    from sklearn.datasets import load_sample_images  # takes a second to import, and few callers need it

    bundle = load_sample_images()
    return {Path(name).stem: image for name, image in zip(bundle.filenames, bundle.images, strict=True)}


def write_sample_images(folder: Path, n_dead_leaves: int = 62, seed: int = 0) -> list[Path]:
    """Writes the set into ``folder`` as PNG and returns the paths; existing files are kept."""
    paths = []
    for name, image in sample_photographs().items():
        paths.append(folder / f"photo_{name}.png")
        _write_once(paths[-1], functools.partial(np.asarray, image))
    for index in range(n_dead_leaves):
        size = IMAGE_SIZE if index % 4 else IMAGE_SIZE[::-1]
        rng = np.random.default_rng((seed, index))
        paths.append(folder / f"leaves_{index:03d}.png")
        _write_once(paths[-1], functools.partial(dead_leaves, *size, rng))
    return paths


def _write_once(path: Path, make_image: Callable[[], np.ndarray]) -> None:
    if not path.exists():
        with whole_file(path) as temporary:
            Image.fromarray(make_image()).save(temporary)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.sample_images", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write the images")
    parser.add_argument("--n_dead_leaves", type=int, default=62, help="number of dead-leaves images")
    options = parser.parse_args()

    def work() -> None:
        paths = write_sample_images(options.folder, options.n_dead_leaves)
        log.info(f"{len(paths)} images: {options.folder}")

    log.set_script("datasets.sample_images")
    run_script(work)


if __name__ == "__main__":
    main()
