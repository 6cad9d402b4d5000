"""Scores beside the opinions of ``--labels``: how well they agree, and on which images that is a test.

Imports pandas and scipy, which scores alone do not need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import log
from datasets.images.lists import ImageListing, ListedImage, match_names
from datasets.opinions.scores import OpinionScores, read_scores
from learning.regression.evaluate.metrics import metrics_of
from learning.regression.model.description import LABELS, METRICS, RegressorDescription
from learning.regression.model.meaning import ScoreInterval
from networks.errors import UserError
from networks.regressor import sha256_of


@dataclass(frozen=True)
class Labels:
    """Opinions on images of the input: a row of ``opinions`` for each of ``images``."""

    opinions: OpinionScores
    images: Sequence[ListedImage]

    def compare(
        self, scores: Mapping[str, float], description: RegressorDescription, interval: ScoreInterval | None = None
    ) -> None:
        """Prints how well the scores agree with the opinions, and how well on images new to the regressor.

        With an ``interval``, also the share of opinions in theirs. ``scores`` are by the images' names. UserError if
        fewer than two labelled images have one.
        """
        rows = [row for row, image in enumerate(self.images) if image.name in scores]
        if len(rows) < 2:
            raise UserError(f"{len(rows)} of {len(self.images)} labelled images could be scored; 2 are needed")
        predicted, mos = np.array([scores[self.images[row].name] for row in rows]), self.opinions.mos[rows]
        new = np.ones(len(rows), bool)
        for position, row in enumerate(rows if description.fit_images else ()):
            with contextlib.suppress(OSError):  # the file is gone, and its features are kept
                new[position] = not description.was_fitted_on(sha256_of(Path(self.images[row].path)))
        everything = f"{len(rows):,d} of {len(self.images):,d} labelled images. {self.opinions.inversion}".rstrip()
        of_which = {everything: np.ones(len(rows), bool)}
        if not new.all():
            log.warning(f"{(~new).sum():,d} of {len(new):,d} labelled images were part of the fit: they do not test it")
            of_which[f"the {new.sum():,d} labelled images that were not part of the fit"] = new
        for which, chosen in of_which.items():
            if chosen.sum() < 2:
                continue
            log.info(f"\nagainst the opinions on {which}")
            metrics = metrics_of(predicted[chosen], mos[chosen])
            log.info("  ".join(f"{LABELS[name]} {getattr(metrics, name):.4f}" for name in METRICS))
            if interval is not None:
                low, high = np.transpose([interval.ends(score) for score in predicted[chosen].tolist()])
                inside = np.mean((low <= mos[chosen]) & (mos[chosen] <= high))
                log.info(f"{inside:.1%} of these opinions lie in their interval, at level {interval.level:g}")


def read_labels(path: Path, lower_is_better: bool, listing: ImageListing) -> Labels:
    """The table of opinions; UserError if fewer than two of its images are in the listing."""
    table = read_scores(path, lower_is_better)
    images = {image.name: image for image in listing.images}
    matched = match_names(table.images, list(images), "--input")
    if len(matched) < 2:
        raise UserError(
            f"{len(matched)} images of --labels {path} are among those of --input, and 2 are needed; the table lists "
            f"{table.images[0]}, and the input includes {next(iter(images))}"
        )
    opinions = table.rows([row for row, image in enumerate(table.images) if image in matched])
    return Labels(opinions, [images[matched[image]] for image in opinions.images])
