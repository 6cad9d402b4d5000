"""What the spread of the observers' ratings says about a database and about predictions (ITU-T P.1401, 2020)."""

from __future__ import annotations

import numpy as np
from scipy import stats

from learning.regression.evaluate.metrics import srcc
from learning.regression.evaluate.results import ObserverSpread

N_SIMULATIONS = 200


def confidence_half_widths(std: np.ndarray, n_raters: np.ndarray) -> np.ndarray:
    """(n,) half-widths of the 95 % confidence intervals of mean opinions: t(0.975, N - 1) std / sqrt(N)."""
    return stats.t.ppf(0.975, n_raters - 1) * std / np.sqrt(n_raters)


def srcc_ceiling(mos: np.ndarray, std: np.ndarray, n_raters: np.ndarray, seed: int = 0) -> float:
    """Median SRCC between the means of two halves of raters, simulated as normal around ``mos``.

    ``mos`` holds the sampling error of the real raters, which spreads it; so the ceiling is slightly too high.
    """
    rng = np.random.default_rng(seed)
    error = std / np.sqrt(n_raters / 2)
    first, second = mos + error * rng.standard_normal((2, N_SIMULATIONS, len(mos)))
    return float(np.median([float(srcc(a, b)) for a, b in zip(first, second, strict=True)]))


def outlier_ratio(predicted: np.ndarray, mos: np.ndarray, half_widths: np.ndarray) -> float:
    """Share of (n,) predictions outside the confidence interval of their opinion (P.1401, 7.5.2.2)."""
    return float(np.mean(np.abs(predicted - mos) > half_widths))


def rmse_epsilon(predicted: np.ndarray, mos: np.ndarray, half_widths: np.ndarray, n_parameters: int) -> float:
    """Root mean square of what errors exceed the confidence interval by (P.1401, 7.7: rmse*).

    ``n_parameters`` of the mapping are subtracted from the number of images.
    """
    excess = np.maximum(0, np.abs(predicted - mos) - half_widths)
    return float(np.sqrt(np.sum(excess**2) / max(1, len(mos) - n_parameters)))


def observer_spread(
    mapped: np.ndarray, mos: np.ndarray, std: np.ndarray, n_raters: np.ndarray, n_parameters: int = 4
) -> ObserverSpread:
    """All of it, for (n,) predictions after a logistic with ``n_parameters``; ``n_raters`` is at least 2."""
    half_widths = confidence_half_widths(std, n_raters)
    return ObserverSpread(
        mean_std=float(std.mean()),
        mean_raters=float(n_raters.mean()),
        ceiling=srcc_ceiling(mos, std, n_raters),
        outlier_ratio=outlier_ratio(mapped, mos, half_widths),
        rmse_epsilon=rmse_epsilon(mapped, mos, half_widths, n_parameters),
    )
