"""Unreadable training images: the data set replaces them; this module reports, lists and limits them."""

from __future__ import annotations

from pathlib import Path

import torch.distributed as dist

from common import log
from common.errors import UserError
from datasets.opinions.tables import read_csv, write_csv
from datasets.training.image_lists import PATH_COLUMN, EpochImages

BAD_IMAGES = "bad_images.csv"
N_NAMED = 5


class BadImages:
    """Counts the images that ``dataset`` could not read, in all processes together.

    Rank 0 (``is_first``) keeps the list in ``folder``, the run's folder. At most ``max_share`` of the images may be
    unreadable. A ``resumed`` run adds to the existing list.
    """

    def __init__(
        self,
        dataset: EpochImages,
        folder: Path,
        max_share: float,
        is_first: bool,
        resumed: bool = False,
    ):
        self._dataset = dataset
        self._folder = folder
        self._max_share = max_share
        self._is_first = is_first
        self._reasons: dict[int, str] = {}
        self._known: set[int] = set()
        self._listed: dict[str, str] = {}
        if is_first and not resumed:
            (folder / BAD_IMAGES).unlink(missing_ok=True)
        elif is_first and (folder / BAD_IMAGES).exists():
            table = read_csv(folder / BAD_IMAGES, (PATH_COLUMN,), "list of bad images")
            self._listed = dict(zip(table[PATH_COLUMN], table["why"], strict=True))

    def check(self) -> None:
        """Reports new ones. Every process must call it at the same step; it raises UserError in each for too many."""
        found = set(self._dataset.unreadable().tolist())
        if dist.is_initialized():
            of_all: list[set[int]] = [set()] * dist.get_world_size()
            dist.all_gather_object(of_all, found - self._known)
            found = found.union(*of_all)
        new = sorted(found - self._known)
        if not new:
            return
        self._known |= found
        if self._is_first:
            self._report(new)
        n_bad, n_images = len(self._known), len(self._dataset)
        if n_bad > self._max_share * n_images:
            raise UserError(
                f"{n_bad:,d} of {n_images:,d} training images cannot be read, more than --max_bad "
                f"{100 * self._max_share:g} % allows; {self._folder / BAD_IMAGES} lists them"
            )

    def _report(self, new: list[int]) -> None:
        for index in new:
            reason = self._dataset.why_unreadable(index)
            self._reasons[index] = self._listed[self._dataset.images.path(index)] = reason
            if len(self._reasons) <= N_NAMED:
                log.warning(f"unreadable image, replaced by another: {reason}")
        if len(self._reasons) > N_NAMED:
            log.warning(f"{len(self._reasons):,d} unreadable images replaced so far, see {self._folder / BAD_IMAGES}")
        write_csv(self._folder / BAD_IMAGES, (PATH_COLUMN, "why"), sorted(self._listed.items()))
