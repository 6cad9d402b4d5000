"""Scores of photographs and of all their distorted versions, kept in a CSV so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.progress_bar import ProgressBar
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.images import read_image
from datasets.images.lists import ListedImage
from datasets.images.resampling import resize
from datasets.opinions.scores import read_numbers
from datasets.opinions.tables import read_csv, write_csv
from learning.regression.evaluate.dlp import DlpScores

Scorer = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Images of one size, uint8 (H, W, 3) each -> (n,) scores, higher for better images."""

COLUMNS = ("image", "kind", "level", "unchanged", "score", "key")

SECONDS_BETWEEN_SAVES = 60
LARGEST_SHARE_OF_SAVING = 0.05
"""Saving waits where the file is so long that it would take more of the time than this."""


@dataclass(frozen=True)
class PhotographScores:
    """The scores of a photograph and its versions; arrays (kinds, levels) in the order of DISTORTIONS.

    ``key`` identifies the pixels and everything else that the scores depend on.
    """

    key: str
    undistorted: float
    distorted: np.ndarray
    unchanged: np.ndarray


def reduced(image: np.ndarray, max_side: int) -> np.ndarray:
    """``image``, uint8 (H, W, 3), reduced (bicubic, antialiased) so that its long side is at most ``max_side``."""
    height, width = image.shape[:2]
    if max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    return resize(image, max(1, round(width * scale)), max(1, round(height * scale)))


def photograph_key(image: np.ndarray, model: str, seed: int) -> str:
    """Identifies the scores of ``image`` by ``model``, a text that identifies a quality model."""
    parts = f"{model}:{seed}:{','.join(DISTORTIONS)}:{image.shape}".encode()
    return hashlib.sha256(parts + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def versions(image: np.ndarray, kind: str, seed: int) -> list[np.ndarray]:
    """The five levels of one kind.

    All levels have the same random draws (direction, places, noise), which depend on the pixels, the kind and the
    seed. So they differ in level only.
    """
    digest = hashlib.sha256(f"{seed}:{kind}:".encode() + np.ascontiguousarray(image).tobytes()).digest()
    entropy = int.from_bytes(digest[:16], "big")
    return [distort(image, kind, level, np.random.default_rng(entropy)) for level in range(N_LEVELS)]


def score_photograph(image: np.ndarray, scorer: Scorer, key: str, seed: int) -> PhotographScores:
    """The scores of a photograph and of its versions; one kind is in memory at a time.

    An unchanged version has the photograph's own score.
    """
    undistorted = float(scorer([image])[0])
    distorted = np.full((len(DISTORTIONS), N_LEVELS), undistorted)
    unchanged = np.zeros((len(DISTORTIONS), N_LEVELS), bool)
    for row, kind in enumerate(DISTORTIONS):
        of_kind = versions(image, kind, seed)
        unchanged[row] = [np.array_equal(version, image) for version in of_kind]
        changed = np.flatnonzero(~unchanged[row])
        if changed.size:
            distorted[row, changed] = scorer([of_kind[level] for level in changed])
    return PhotographScores(key, undistorted, distorted, unchanged)


@dataclass(frozen=True)
class ScoredPhotographs:
    """The scores of all photographs that could be read, a sentence for each other one, and how many were reduced."""

    scores: list[PhotographScores]
    failed: list[str]
    n_reduced: int


def score_photographs(
    images: Sequence[ListedImage], scorer: Scorer, model: str, kept: ScoresFile, max_side: int, seed: int
) -> ScoredPhotographs:
    """Scores all ``images`` and their versions, with a progress bar; ``model`` is a text that identifies the scorer.

    The scores that ``kept`` has already are not computed. An interruption saves those computed so far.
    """
    scores, failed, n_reduced = [], [], 0
    bar = ProgressBar(len(images), "photograph")
    try:
        for listed in images:
            bar.add(1)
            try:
                original = read_image(listed.path)
            except UserError as error:
                failed.append(error.sentence)
                continue
            image = reduced(original, max_side)
            n_reduced += image is not original
            key = photograph_key(image, model, seed)
            found = kept.find(listed.name, key)
            if found is None:
                found = score_photograph(image, scorer, key, seed)
                kept.add(listed.name, found)
            scores.append(found)
    finally:
        kept.save()
        bar.close()
    return ScoredPhotographs(scores, failed, n_reduced)


def together(photographs: Sequence[PhotographScores]) -> DlpScores:
    """The scores of all photographs, as the tests take them."""
    return DlpScores(
        kinds=tuple(DISTORTIONS),
        ordered=np.array([kind.ordered for kind in DISTORTIONS.values()]),
        undistorted=np.array([one.undistorted for one in photographs]),
        distorted=np.stack([one.distorted for one in photographs]),
        unchanged=np.stack([one.unchanged for one in photographs]),
    )


class ScoresFile:
    """The CSV of scores, (name of the image, key) -> scores; ``path`` None keeps them in memory only.

    Scores of another model or seed have another key and stay in the file. The file is replaced completely each time, so
    that an interruption leaves a valid one.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._of_images = read_photographs(path) if path is not None and path.exists() else {}
        self._saved = time.monotonic()
        self._seconds_of_save = 0.0
        self._changed = False

    def find(self, image: str, key: str) -> PhotographScores | None:
        """The scores of ``image``; None where there are none, or where they have a different key."""
        return self._of_images.get((image, key))

    def add(self, image: str, scores: PhotographScores) -> None:
        """Adds the scores of an image, and saves all of them now and then."""
        self._of_images[image, scores.key] = scores
        self._changed = True
        pause = max(SECONDS_BETWEEN_SAVES, self._seconds_of_save / LARGEST_SHARE_OF_SAVING)
        if time.monotonic() - self._saved > pause:
            self.save()

    def save(self) -> None:
        """Writes the file, unless it holds everything already."""
        if self._path is None or not self._changed:
            return
        began = time.monotonic()
        write_csv(self._path, COLUMNS, _rows(self._of_images))
        self._saved = time.monotonic()
        self._seconds_of_save = self._saved - began
        self._changed = False


def _rows(of_images: dict[tuple[str, str], PhotographScores]) -> Iterator[tuple[str, ...]]:
    """The rows of the file; the photograph itself has no kind and no level. Levels are 1 to 5, as in KADID-10k."""
    for (image, _), scores in of_images.items():
        yield image, "", "", "", repr(scores.undistorted), scores.key
        for row, kind in enumerate(DISTORTIONS):
            for level in range(N_LEVELS):
                unchanged = "yes" if scores.unchanged[row, level] else ""
                yield image, kind, str(level + 1), unchanged, repr(float(scores.distorted[row, level])), scores.key


def read_photographs(path: Path) -> dict[tuple[str, str], PhotographScores]:
    """The complete photographs, by name and key, in a file of ``ScoresFile``; UserError where it is another table."""
    table = read_csv(path, ("image",), "scores of versions", optional=COLUMNS[1:])
    missing = set(COLUMNS) - set(table)
    if missing:
        raise UserError(f"scores of versions {path} has no column '{min(missing)}'; name another file by --scores")
    expected = [("", "")] + [(kind, str(level + 1)) for kind in DISTORTIONS for level in range(N_LEVELS)]
    found: dict[tuple[str, str], PhotographScores] = {}
    for _, rows in table.groupby(["image", "key"], sort=False):
        if list(zip(rows["kind"], rows["level"], strict=True)) != expected:
            continue  # of another version of this program, or edited: computed again
        scores = read_numbers(rows["score"], f"scores of versions {path}")
        shape = (len(DISTORTIONS), N_LEVELS)
        unchanged = (rows["unchanged"] == "yes").to_numpy()[1:].reshape(shape)
        image, key = rows["image"].iloc[0], rows["key"].iloc[0]
        found[image, key] = PhotographScores(key, float(scores[0]), scores[1:].reshape(shape), unchanged)
    return found
