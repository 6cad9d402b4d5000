"""CSV of images -> chunks of query and key crops for the quality-aware encoder (Re-IQA, section 3.2)."""

from __future__ import annotations

import os

import cv2
import numpy as np
import torch
from torch import Tensor

from datasets.boxes import Box
from datasets.distortions import DISTORTIONS, N_LEVELS
from datasets.distortions.registry import distort_boxes
from datasets.images.resampling import resize
from datasets.training.crops import CropPlan, mirror_up_to, plan_crops
from datasets.training.image_lists import EpochImages, TrainingImages, read_training_csv
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS

CHANCE_OF_TWO_DISTORTIONS = 0.1


def draw_steps(n_aug: int, n_distortions: int, rng: np.random.Generator) -> list[list[tuple[str, int]]]:
    """Draws the distortions of each of the ``n_aug`` versions: a list of (kind, level), in the order of application.

    Each version has a different kind, at a uniform level. With ``n_distortions`` 2, one version in ten is distorted a
    second time, by another kind, and the level is divided between the two.
    """
    names = list(DISTORTIONS)
    first_kinds = rng.choice(len(names), size=n_aug, replace=False)
    levels = rng.integers(N_LEVELS, size=n_aug)
    versions = []
    for first, level in zip(first_kinds, levels, strict=True):
        if n_distortions == 2 and rng.random() < CHANCE_OF_TWO_DISTORTIONS:
            second = (first + rng.integers(1, len(names))) % len(names)
            share = int(rng.integers(level + 1))
            versions.append([(names[first], int(level) - share), (names[second], share)])
        else:
            versions.append([(names[first], int(level))])
    return versions


def reached_levels(steps: list[tuple[str, int]]) -> np.ndarray:
    """The distortions of a version, uint8 (kinds, levels): 1 at [k, l] where kind k was applied at level l or above.

    The two kinds whose levels are not ordered (``Distortion.ordered``) are labelled in the same way.
    """
    names = list(DISTORTIONS)
    reached = np.zeros((len(names), N_LEVELS), dtype=np.uint8)
    for name, level in steps:
        reached[names.index(name), : level + 1] = 1
    return reached


def cut_crops(part: np.ndarray, plan: CropPlan, query: np.ndarray, key: np.ndarray) -> None:
    """Cuts the two crops out of ``part``, the pixels of ``plan.source``, into ``query`` and ``key``, (3, P, P)."""
    size = plan.query.height
    height, width = part.shape[:2]
    divided = part
    if plan.factor > 1:
        divided = resize(part, max(1, width // plan.factor), max(1, height // plan.factor))
    divided = mirror_up_to(divided, size, size)
    top, left = plan.source.top // plan.factor, plan.source.left // plan.factor
    frame = Box(top, left, top + divided.shape[0], left + divided.shape[1])
    cv2.split(plan.query.relative_to(frame).cut(divided), list(query))
    cv2.split(plan.key.relative_to(frame).cut(divided), list(key))


def make_chunk(
    image: np.ndarray,
    n_aug: int,
    n_scale: int,
    n_distortions: int,
    patch_size: int,
    swap_crops: bool,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """One training sample from one image, uint8 (H, W, 3).

    Returns uint8 (n_scale * (n_aug + 1), 6, P, P): full scale first, then half scale; in each scale the image
    itself, then its distorted versions; channels 0-2 the query crop, 3-5 the key crop. Also returns the
    ``reached_levels`` of each row, kind after kind, uint8 (n_scale * (n_aug + 1), kinds * levels).
    """
    height, width = image.shape[:2]
    plans = [plan_crops(height, width, factor, patch_size, rng) for factor in (1, 2)[:n_scale]]
    sources = [plan.sources for plan in plans]

    n_versions = n_aug + 1
    n_swapped_at_full_scale = n_versions // 2
    # Torch's memory begins at a multiple of 64 bytes; into planes that do not, cv2.split takes ten times as long.
    chunk = torch.empty((n_scale, n_versions, 2, 3, patch_size, patch_size), dtype=torch.uint8).numpy()
    versions: list[list[tuple[str, int]]] = [[], *draw_steps(n_aug, n_distortions, rng)]
    for version, steps in enumerate(versions):
        parts = distort_boxes(image, sources, steps, rng)
        for plan, part, (query, key) in zip(plans, parts, chunk[:, version], strict=True):
            # Half-swap: half of the versions exchange query and key at full scale, the others at half scale.
            if swap_crops and (version < n_swapped_at_full_scale) == (plan.factor == 1):
                query, key = key, query
            cut_crops(part, plan, query, key)
    reached = np.stack([reached_levels(steps).ravel() for steps in versions] * n_scale)
    return chunk.reshape(n_scale * n_versions, 6, patch_size, patch_size), reached


class QualityAwareDataset(EpochImages):
    """The images of a training CSV as chunks: ``[i]`` is a uint8 tensor (n_scale * (n_aug + 1), 6, P, P).

    ``csv_path`` is the CSV's path, or the list of images that was read from it. A chunk depends on (seed, epoch, i)
    alone: not on the number of workers or processes, nor on images read before.

    An unreadable image is replaced by another one (see ``EpochImages.read``). Raises UserError for a CSV that cannot
    be used (see ``read_training_csv``), and for an option out of range.
    """

    def __init__(
        self,
        csv_path: str | os.PathLike | TrainingImages,
        n_aug: int = 11,
        n_scale: int = 2,
        n_distortions: int = 1,
        patch_size: int = 160,
        swap_crops: int | bool = 1,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ):
        if n_aug not in range(len(DISTORTIONS) + 1) or {n_scale, n_distortions} - {1, 2} or patch_size < 1:
            given = f"{n_aug=}, {n_scale=}, {n_distortions=}, {patch_size=}"
            raise UserError(f"one of {given} is out of range; there are {len(DISTORTIONS)} kinds of distortion")
        images = csv_path if isinstance(csv_path, TrainingImages) else read_training_csv(csv_path)
        super().__init__(images, seed, max_pixels)
        self.n_aug = n_aug
        self.n_scale = n_scale
        self.n_distortions = n_distortions
        self.patch_size = patch_size
        self.swap_crops = bool(swap_crops)

    def sample(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """The chunk of an image and the levels reached in its rows, as ``make_chunk`` returns them."""
        rng = np.random.default_rng((self.seed, epoch, index))
        chunk, reached = make_chunk(
            self.read(epoch, index), self.n_aug, self.n_scale, self.n_distortions, self.patch_size, self.swap_crops, rng
        )
        return torch.from_numpy(chunk), torch.from_numpy(reached)
