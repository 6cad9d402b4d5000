"""The D-, L- and P-test of a quality model: undistorted photographs and their distorted versions, no opinions.

The tests are those of Ma et al. (Waterloo Exploration Database, IEEE TIP 26(2), 2017). D and L follow their
definitions. P differs in the choice of pairs, see ``preference_consistency``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from common import log
from common.atomic_files import check_not_read, check_target
from common.progress_bar import ProgressBar
from common.tables import TABLE_FORMS, print_table
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.images.lists import list_images
from datasets.opinions.tables import write_csv
from learning.regression.evaluate.metrics import srcc
from learning.regression.model.predict import PixelScorer, load_pixel_scorer
from networks.errors import UserError
from networks.images.reading import read_image, reduced

if TYPE_CHECKING:
    from learning.regression.dlp_tests import DlpOptions

LEVELS_APART = 3
"""Levels of one kind that are at least this far apart differ in quality on any two photographs."""


ORDERED = {name: kind.ordered for name, kind in DISTORTIONS.items()}
"""Kind of distortion -> whether the quality falls from level to level."""


@dataclass(frozen=True)
class DlpResult:
    """The three tests on the versions of one kind, or of all kinds.

    ``d`` is in 0.5..1, ``l`` in -1..1, ``p`` in 0..1; higher is better. ``n_distorted``, ``n_lists`` and ``n_pairs``
    count what they are computed from; a value is None where there is nothing.
    """

    kind: str
    d: float | None
    l: float | None  # noqa: E741  (the test's name)
    p: float | None
    n_distorted: int
    n_lists: int
    n_pairs: int


def run_dlp_tests(options: DlpOptions) -> int:
    """Scores, tests, prints and writes; the exit status is 1 if a photograph or a folder could not be read.

    Photographs with a longer side than --max_side are reduced before they are distorted. One photograph and one kind
    are in memory at a time.
    """
    if options.output is not None:
        check_target(options.output)
        check_not_read("--output", options.output, options.input)
    listing = list_images(options.input)
    scorer = load_pixel_scorer(options, options.compute.device)
    scored, n_failed = [], 0
    bar = ProgressBar(len(listing.images), "photograph")
    for listed in listing.images:
        bar.add(1)
        try:
            image = reduced(read_image(listed.path), options.max_side)
        except UserError as error:
            log.error(error.sentence)
            n_failed += 1
            continue
        scored.append(score_photograph(image, scorer, options.seed))
    bar.close()
    if not scored:
        raise UserError(f"no photograph could be read in {' '.join(options.input)}")
    undistorted, distorted, unchanged = map(np.array, zip(*scored, strict=True))
    results = dlp_results(undistorted, distorted, unchanged, ORDERED)
    log.info(f"\n{len(scored):,d} photographs, {results[0].n_distorted:,d} distorted versions")
    tests = [
        [one.kind, *("-" if value is None else f"{value:.4f}" for value in (one.d, one.l, one.p))] for one in results
    ]
    print_table(TABLE_FORMS[0], ["kind", "D", "L", "P"], tests)
    log.info(
        "\nD: share told apart from the photographs by the best threshold (chance: 0.5). L: rank correlation with the "
        "levels. P: pairs in the right order. A dash: the levels of this kind have no order of quality."
    )
    if options.output is not None:
        rows = [[f"{value:.6f}" if isinstance(value, float) else value for value in astuple(one)] for one in results]
        write_csv(options.output, [field.name for field in fields(DlpResult)], rows)
    return 1 if n_failed or listing.folders.unreadable else 0


def score_photograph(image: np.ndarray, scorer: PixelScorer, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The score of a photograph, the scores of its versions, (kinds, levels), and which of them are unchanged.

    An unchanged version has the photograph's own score.
    """
    undistorted = float(scorer([image])[0])
    distorted = np.full((len(ORDERED), N_LEVELS), undistorted)
    unchanged = np.zeros(distorted.shape, bool)
    for row, kind in enumerate(ORDERED):
        of_kind = versions(image, kind, seed)
        unchanged[row] = [np.array_equal(version, image) for version in of_kind]
        changed = np.flatnonzero(~unchanged[row])
        if changed.size:
            distorted[row, changed] = scorer([of_kind[level] for level in changed])
    return undistorted, distorted, unchanged


def versions(image: np.ndarray, kind: str, seed: int) -> list[np.ndarray]:
    """The five levels of one kind.

    All levels have the same random draws (direction, places, noise), which depend on the pixels, the kind and the
    seed. So they differ in level only.
    """
    digest = hashlib.sha256(f"{seed}:{kind}:".encode() + np.ascontiguousarray(image).tobytes()).digest()
    entropy = int.from_bytes(digest[:16], "big")
    return [distort(image, kind, level, np.random.default_rng(entropy)) for level in range(N_LEVELS)]


def dlp_results(
    undistorted: np.ndarray, distorted: np.ndarray, unchanged: np.ndarray, ordered: Mapping[str, bool]
) -> list[DlpResult]:
    """The result over all kinds first, then the result of each kind. Kinds that are not ``ordered`` count in D only.

    The scores of photographs are ``undistorted`` (n,), those of their versions ``distorted`` (n, kinds, levels), the
    mildest level first. ``unchanged`` (n, kinds, levels) is True where a version is pixel by pixel the photograph (the
    mildest blur; a colour distortion of a grey photograph), so that no model can tell them apart.
    """
    results = []
    for label, kinds in {"all": [*ordered], **{kind: [kind] for kind in ordered}}.items():
        rows = [row for row, kind in enumerate(ordered) if kind in kinds]
        different = distorted[:, rows][~unchanged[:, rows]]
        of_kinds = [(distorted[:, row], unchanged[:, row]) for row in rows if list(ordered.values())[row]]
        lists = [one for of_kind in of_kinds for one in ranking_consistencies(*of_kind)]
        n_concordant, n_pairs = np.sum([(0, 0), *(preference_consistency(*one) for one in of_kinds)], axis=0).tolist()
        d = discriminability(undistorted, different) if len(different) else None
        l = float(np.mean(lists)) if lists else None  # noqa: E741  (the test's name)
        p = n_concordant / n_pairs if n_pairs else None
        results.append(DlpResult(label, d, l, p, len(different), len(lists), n_pairs))
    return results


def discriminability(undistorted: np.ndarray, distorted: np.ndarray) -> float:
    """D: how well one threshold T tells (n,) undistorted from (m,) distorted images; 0.5 is chance.

    D = max over T of (share of the undistorted with a score >= T + share of the distorted with a score < T) / 2.
    """
    thresholds = np.append(np.unique(np.concatenate([undistorted, distorted])), np.inf)
    above = 1 - np.searchsorted(np.sort(undistorted), thresholds) / len(undistorted)
    below = np.searchsorted(np.sort(distorted), thresholds) / len(distorted)
    return float(np.max(above + below) / 2)


def ranking_consistencies(scores: np.ndarray, unchanged: np.ndarray) -> list[float]:
    """L of each photograph: SRCC of (n, levels) scores of one kind with the order of the levels, the mildest best.

    The test's L is the mean. Of several unchanged versions only the mildest counts, since they are one image. A
    photograph with fewer than two different versions has no list.
    """
    correlations = []
    for of_photograph, same in zip(scores, unchanged, strict=True):
        counts = ~same
        counts[np.flatnonzero(same)[:1]] = True
        if counts.sum() > 1:
            correlations.append(float(srcc(of_photograph[counts], -np.flatnonzero(counts))))
    return correlations


def preference_consistency(scores: np.ndarray, unchanged: np.ndarray) -> tuple[int, int]:
    """P: number of concordant pairs, and of all pairs, of (n, levels) scores of one kind; the test's P is the share.

    A pair has the milder level on one photograph and a level at least LEVELS_APART higher on any photograph, the same
    or a different one. It is concordant if the milder version has the strictly higher score. Ma et al. take pairs
    across kinds, too, of which three full-reference models say clearly, and agree, which image is better; here the
    levels say so, and pairs of different kinds, for which they say nothing, do not occur. An unchanged version is
    never the worse image of a pair.
    """
    n_levels = scores.shape[1]
    n_concordant = n_pairs = 0
    for milder in range(n_levels - LEVELS_APART):
        for stronger in range(milder + LEVELS_APART, n_levels):
            worse = np.sort(scores[~unchanged[:, stronger], stronger])
            n_concordant += int(np.searchsorted(worse, scores[:, milder]).sum())
            n_pairs += len(scores) * len(worse)
    return n_concordant, n_pairs
