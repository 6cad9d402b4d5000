"""The spread of the observers' ratings, as a limit for predictions (ITU-T P.1401, 2020)."""

from __future__ import annotations

import numpy as np
from scipy import stats

from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import srcc
from learning.regression.evaluate.results import ObserverSpread

N_SIMULATIONS = 200


def observer_spread(held_out: HeldOut, std: np.ndarray, n_raters: np.ndarray) -> ObserverSpread:
    """The observers' agreement, and that of held-out predictions after the logistic with them.

    ``std`` and ``n_raters``, which is at least 2, are (n,), of all images.
    """
    tested = held_out.tested
    mos, std, n_raters = held_out.mos[tested], std[tested], n_raters[tested]
    errors = np.abs(held_out.mapped[tested] - mos)
    half_widths = stats.t.ppf(0.975, n_raters - 1) * std / np.sqrt(n_raters)  # of 95 % confidence intervals of opinions
    excess = np.maximum(0, errors - half_widths)
    return ObserverSpread(
        mean_std=float(std.mean()),
        mean_raters=float(n_raters.mean()),
        ceiling=srcc_ceiling(mos, std, n_raters),
        outlier_ratio=float(np.mean(errors > half_widths)),  # 7.5.2.2
        # 7.7, rmse*: the parameters of the mapping are subtracted from the number of images.
        rmse_epsilon=float(np.sqrt(np.sum(excess**2) / max(1, len(mos) - held_out.n_parameters))),
    )


def srcc_ceiling(mos: np.ndarray, std: np.ndarray, n_raters: np.ndarray, seed: int = 0) -> float:
    """Median SRCC between the means of two halves of raters, simulated as normal around ``mos``.

    ``mos`` holds the sampling error of the real raters, which spreads it; so the ceiling is slightly too high.
    """
    rng = np.random.default_rng(seed)
    error = std / np.sqrt(n_raters / 2)
    first, second = mos + error * rng.standard_normal((2, N_SIMULATIONS, len(mos)))
    return float(np.median([float(srcc(a, b)) for a, b in zip(first, second, strict=True)]))
