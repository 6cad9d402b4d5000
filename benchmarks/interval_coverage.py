"""How often a 95 % bootstrap interval contains the true value, on simulated data whose true metrics are known.

``python -m benchmarks.interval_coverage`` prints the coverage for each metric: images alone, images in groups, several
overlapping splits, and splits on each of which a Ridge is fitted. Between 93 and 97 % is as it should be.
``--markdown`` prints the table of docs/evaluation.md.

The true value is the protocol's: what ``train_regressor.py`` prints on average over new images, computed from all
simulations. The value that infinitely many test images would give is another one for PLCC fit and RMSE fit, since the
logistic is fitted on the test part itself; the coverage of that value stands beside it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.table import Row, print_table
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.intervals import bootstrap_intervals
from learning.regression.evaluate.metrics import metrics_of
from learning.regression.evaluate.results import LABELS, METRICS

POPULATION = 400_000
"""Images from which the population's values are computed; their own error is a fiftieth of an interval."""

N_FEATURES = 20


@dataclass(frozen=True)
class Setting:
    """Simulated test images: groups and their size, and splits with a fifth of the groups each (1: all images).

    ``fitted``: the predictions of a split are those of a Ridge fitted on its other images.
    """

    n_groups: int
    group_size: int = 1
    n_splits: int = 1
    fitted: bool = False

    def __str__(self) -> str:
        n_images = self.n_groups * self.group_size
        images = f"{n_images} images" if self.group_size == 1 else f"{self.n_groups} groups of {self.group_size}"
        parts = "one test part" if self.n_splits == 1 else f"{self.n_splits} splits"
        return f"{parts}, {images}" + (", Ridge fitted on each" if self.fitted else "")


@dataclass(frozen=True)
class Coverage:
    """Metric -> share of intervals with the protocol's average in them, and with the population's value."""

    of_protocol: dict[str, float]
    of_population: dict[str, float]


SETTINGS = (
    Setting(300),
    Setting(1000),
    Setting(100, group_size=3),
    Setting(300, n_splits=10),
    Setting(300, n_splits=10, fitted=True),
)


def draw(n_groups: int, group_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and opinions (n_groups * group_size,), normal, correlated within groups."""
    shared = np.repeat(rng.standard_normal((2, n_groups)), group_size, axis=1) if group_size > 1 else 0.0
    own = rng.standard_normal((2, n_groups * group_size))
    quality, noise = own if group_size == 1 else (shared + own) / np.sqrt(2)
    return quality + 0.75 * noise, 3 + quality


def simulate(setting: Setting, rng: np.random.Generator) -> HeldOut:
    """Test-part predictions of every split."""
    groups = np.repeat(np.arange(setting.n_groups), setting.group_size)
    predicted, mos = draw(setting.n_groups, setting.group_size, rng)
    features = rng.standard_normal((len(mos), N_FEATURES))
    if setting.fitted:
        mos = 3 + features[:, 0] + 0.75 * rng.standard_normal(len(mos))
    predictions = np.full((setting.n_splits, len(mos)), np.nan)
    for row in predictions:
        drawn = rng.permutation(setting.n_groups)[: setting.n_groups // 5]
        tested = np.isin(groups, drawn) if setting.n_splits > 1 else np.ones(len(mos), bool)
        row[tested] = _by_ridge(features, mos, tested) if setting.fitted else predicted[tested]
    return HeldOut(mos, predictions, groups=groups if setting.group_size > 1 else None)


def _by_ridge(features: np.ndarray, mos: np.ndarray, tested: np.ndarray) -> np.ndarray:
    train, mean = features[~tested], mos[~tested].mean()
    weights = np.linalg.solve(train.T @ train + 10 * np.eye(N_FEATURES), train.T @ (mos[~tested] - mean))
    return mean + features[tested] @ weights


def coverage(
    setting: Setting, n_simulations: int, n_resamples: int, n_population: int = POPULATION, seed: int = 0
) -> Coverage:
    """The share of simulations whose interval contains the true value."""
    rng = np.random.default_rng(seed)
    population = metrics_of(*draw(n_population // setting.group_size, setting.group_size, rng))
    intervals = [
        bootstrap_intervals(simulate(setting, rng), n_resamples=n_resamples, seed=simulation)
        for simulation in range(n_simulations)
    ]

    def share(metric: str, truth: float) -> float:
        return float(np.mean([of[metric].low <= truth <= of[metric].high for of in intervals]))

    averages = {metric: float(np.mean([of[metric].estimate for of in intervals])) for metric in METRICS}
    return Coverage(
        {metric: share(metric, averages[metric]) for metric in METRICS},
        {} if setting.fitted else {metric: share(metric, getattr(population, metric)) for metric in METRICS},
    )


def rows(n_simulations: int = 100, n_resamples: int = 100) -> Iterator[Row]:
    """Coverage in each of SETTINGS."""
    for setting in SETTINGS:
        found = coverage(setting, n_simulations, n_resamples)
        for metric, share in found.of_protocol.items():
            population = found.of_population.get(metric)
            compared = "" if population is None else f"value of the population, {population:.1%}"
            yield Row(f"coverage, {setting}, {LABELS[metric]}", f"{share:.1%}", compared, aim="93 to 97 %")


def print_markdown(n_simulations: int, n_resamples: int) -> None:
    """A row for each setting, a column for each metric; in brackets the coverage of the value of the population."""
    print("| | " + " | ".join(LABELS[metric] for metric in METRICS) + " |\n" + "| --- " * (1 + len(METRICS)) + "|")
    for setting in SETTINGS:
        found = coverage(setting, n_simulations, n_resamples)
        cells = [
            f"{share:.1%}" + (f" ({found.of_population[metric]:.1%})" if found.of_population else "")
            for metric, share in found.of_protocol.items()
        ]
        print(f"| {setting} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interval_coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000, help="simulated data sets")
    parser.add_argument("--resamples", type=int, default=400, help="bootstrap samples of each")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    options = parser.parse_args()
    if options.markdown:
        print_markdown(options.simulations, options.resamples)
    else:
        print_table(rows(options.simulations, options.resamples))


if __name__ == "__main__":
    main()
