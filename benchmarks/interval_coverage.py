"""How often a 95 % bootstrap interval contains the true value, on simulated predictions whose true metrics are known.

``python -m benchmarks.interval_coverage`` prints the coverage for SRCC, PLCC raw, PLCC fit, KRCC and RMSE fit: images
alone, images in groups, and several overlapping splits. Between 93 and 97 % is as it should be.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.table import Row, print_table
from learning.regression.held_out import HeldOut
from learning.regression.metrics import LABELS, METRICS, evaluate
from learning.regression.significance import bootstrap_intervals

POPULATION = 400_000
"""Images from which the true values are computed; their own error is a fiftieth of an interval."""


def draw(n_groups: int, group_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and opinions (n_groups * group_size,), normal, correlated within groups."""
    shared = np.repeat(rng.standard_normal((2, n_groups)), group_size, axis=1) if group_size > 1 else 0.0
    own = rng.standard_normal((2, n_groups * group_size))
    quality, noise = own if group_size == 1 else (shared + own) / np.sqrt(2)
    return quality + 0.75 * noise, 3 + quality


def coverage(
    n_groups: int, group_size: int, n_splits: int, n_simulations: int, n_resamples: int, seed: int = 0
) -> dict[str, float]:
    """Metric -> share of simulations whose interval contains the value in the population."""
    rng = np.random.default_rng(seed)
    truth = evaluate(*draw(POPULATION // group_size, group_size, rng))
    hits = dict.fromkeys(METRICS, 0)
    for simulation in range(n_simulations):
        predicted, mos = draw(n_groups, group_size, rng)
        groups = np.repeat(np.arange(n_groups), group_size)
        predictions = np.full((n_splits, len(mos)), np.nan)
        for row in predictions:
            tested = np.isin(groups, rng.permutation(n_groups)[: n_groups // 5]) if n_splits > 1 else slice(None)
            row[tested] = predicted[tested]
        held_out = HeldOut([""] * len(mos), mos, groups if group_size > 1 else None, predictions)
        intervals = bootstrap_intervals(held_out, n_resamples=n_resamples, seed=simulation)
        for metric, interval in intervals.items():
            hits[metric] += interval.low <= getattr(truth, metric) <= interval.high
    return {metric: count / n_simulations for metric, count in hits.items()}


def rows(n_simulations: int = 100, n_resamples: int = 100) -> Iterator[Row]:
    """Coverage in three settings."""
    settings = {
        "one test part, 300 images": (300, 1, 1),
        "one test part, 100 groups of 3": (100, 3, 1),
        "10 splits of 1,000 images": (1000, 1, 10),
    }
    for name, (n_groups, group_size, n_splits) in settings.items():
        found = coverage(n_groups, group_size, n_splits, n_simulations, n_resamples)
        for metric, share in found.items():
            yield Row(f"coverage, {name}, {LABELS[metric]}", f"{share:.1%}", aim="93 to 97 %")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interval_coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000, help="simulated data sets")
    parser.add_argument("--resamples", type=int, default=400, help="bootstrap samples of each")
    options = parser.parse_args()
    print_table(rows(options.simulations, options.resamples))


if __name__ == "__main__":
    main()
