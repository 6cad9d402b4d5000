"""The D-, L- and P-test of a quality model: undistorted photographs and their distorted versions, no opinions.

The tests are those of Ma et al. (Waterloo Exploration Database, IEEE TIP 26(2), 2017). D and L follow their
definitions. P differs in the choice of pairs, see ``preference_consistency``.

Arrays: ``undistorted`` (n,) scores of the photographs; ``distorted`` (n, kinds, levels) scores of their versions, the
mildest level first; ``unchanged`` (n, kinds, levels), True where a version is pixel by pixel the photograph (the
mildest blur; a colour distortion of a grey photograph), so that no model can tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learning.regression.evaluate.metrics import srcc

LEVELS_APART = 3
"""Levels of one kind that are at least this far apart differ in quality on any two photographs."""


@dataclass(frozen=True)
class DlpScores:
    """The scores of photographs and their versions, as the module describes them.

    ``ordered`` (kinds,) is False for a kind whose quality does not fall from level to level.
    """

    kinds: Sequence[str]
    ordered: np.ndarray
    undistorted: np.ndarray
    distorted: np.ndarray
    unchanged: np.ndarray


@dataclass(frozen=True)
class DlpResult:
    """The three tests on the versions of one kind, or of all kinds.

    ``d`` is in 0.5..1, ``l`` in -1..1, ``p`` in 0..1; higher is better. ``n_distorted``, ``n_lists`` and ``n_pairs``
    count what they are computed from; a value is None where there is nothing.
    """

    label: str
    n_distorted: int
    d: float | None
    n_lists: int
    l: float | None  # noqa: E741  (the test's name)
    n_pairs: int
    p: float | None


def dlp_results(scores: DlpScores) -> list[DlpResult]:
    """The result over all kinds first, then the result of each kind. Kinds without order count in D only."""
    every = range(len(scores.kinds))
    return [_of_kinds("all", scores, every), *(_of_kinds(scores.kinds[kind], scores, [kind]) for kind in every)]


def _of_kinds(label: str, scores: DlpScores, kinds: Sequence[int]) -> DlpResult:
    chosen = list(kinds)
    different = scores.distorted[:, chosen][~scores.unchanged[:, chosen]]
    lists: list[float] = []
    n_pairs = n_concordant = 0
    for kind in (kind for kind in kinds if scores.ordered[kind]):
        of_kind = scores.distorted[:, kind], scores.unchanged[:, kind]
        lists += ranking_consistencies(*of_kind)
        concordant, pairs = preference_consistency(*of_kind)
        n_concordant, n_pairs = n_concordant + concordant, n_pairs + pairs
    return DlpResult(
        label,
        n_distorted=len(different),
        d=discriminability(scores.undistorted, different) if len(different) else None,
        n_lists=len(lists),
        l=float(np.mean(lists)) if lists else None,
        n_pairs=n_pairs,
        p=n_concordant / n_pairs if n_pairs else None,
    )


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
