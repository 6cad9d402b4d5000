"""The search over regressors against scikit-learn's GridSearchCV doing the same work, and its memory at full size.

``python -m benchmarks.regressor_search`` prints seconds, their ratio, and how far choice and predictions agree, for 20
Ridge penalties, 10 splits and 3000 x 8192 float32 features; ``--quick`` takes a tenth of the images. ``--memory``
prints the peak for 10,000 x 8192 instead. ``--default 10000 8192`` times the default search (Ridge and ElasticNet, 110
candidates, 10 splits) and the tests after it, and prints how well the progress bar predicted the search's end.
"""

import argparse
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.table import Row, print_table
from common import machine
from common.progress_bar import ProgressBar
from learning.regression.evaluate.metrics import srcc
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.search import Grid, fit, search
from learning.regression.fit.splits import random_splits

N_FEATURES = 8192
ALPHAS = tuple(np.logspace(0, 6, 20).tolist())


def make_features(
    n_images: int, rng: np.random.Generator, n_features: int = N_FEATURES
) -> tuple[np.ndarray, np.ndarray]:
    """Features with the traits of a ReLU network's (positive, correlated, of unequal spread), and scores on 1..5."""
    factors = rng.standard_normal((n_images, 200), dtype=np.float32)
    strengths = np.linspace(1, 0.05, 200, dtype=np.float32)
    loadings = rng.standard_normal((200, n_features), dtype=np.float32) * strengths[:, None]
    features = factors @ loadings
    features += rng.standard_normal(features.shape, dtype=np.float32)
    np.maximum(features, 0, out=features)
    features *= rng.gamma(2, 0.1, n_features).astype(np.float32)
    mos = factors[:, :20] @ rng.normal(size=20) + rng.normal(scale=3, size=n_images)
    return features, 3 + 0.6 * (mos - mos.mean()) / mos.std()


def rows(n_images: int = 300, n_splits: int = 3) -> Iterator[Row]:
    """The search on raw and on standardised features, against GridSearchCV."""
    features, mos = make_features(n_images, np.random.default_rng(0))
    splits = random_splits(n_images, None, n_splits, (70, 10, 20), seed=0)
    pairs = [(split.train, split.validation) for split in splits]
    for standardized in (False, True):
        grid = Grid(estimators=("ridge",), standardized=(standardized,), ridge_alphas=ALPHAS)
        began = time.perf_counter()
        ours = search(features, mos, splits, grid, machine.n_cores(), machine.memory() // 2)
        ours_seconds = time.perf_counter() - began

        steps = [("standardize", StandardScaler())] if standardized else []
        reference = GridSearchCV(
            Pipeline([*steps, ("regressor", Ridge())]),
            {"regressor__alpha": ALPHAS},
            scoring=make_scorer(lambda true, predicted: float(srcc(predicted, true))),
            cv=pairs,
        )
        began = time.perf_counter()
        reference.fit(features, mos)
        reference_seconds = time.perf_counter() - began

        medians = np.median([reference.cv_results_[f"split{index}_test_score"] for index in range(n_splits)], axis=0)
        their_alpha = ALPHAS[::-1][int(np.argmax(medians[::-1]))]  # of equals the stronger, as ours
        # GridSearchCV has refitted its own choice, by the mean, on all images; ours is held to the same one.
        chosen = next(one for one in ours.candidates if one.alpha == reference.best_params_["regressor__alpha"])
        difference = np.abs(fit(features, mos, chosen).predict(features) - reference.predict(features)).max()
        kind = "standardised" if standardized else "raw"
        name = f"search, {len(ALPHAS)} Ridge, {n_splits} splits, {n_images}x{N_FEATURES}, {kind}"
        theirs, aim = f"GridSearchCV, {reference_seconds:.1f} s", "at least 8" if n_images == 3000 else ""
        yield Row(name, f"{ours_seconds:.1f} s", theirs, f"{reference_seconds / ours_seconds:.1f}", aim)
        same = "the same" if ours.best.alpha == their_alpha else f"theirs {their_alpha:.4g}"
        yield Row("  penalty chosen", f"{ours.best.alpha:.4g}", same)
        yield Row("  median SRCC differs by", f"{np.abs(ours.median[::-1] - medians).max():.1e}")
        yield Row("  predictions differ by", f"{difference:.1e}", aim="at most 1e-4")


def peak_of_all_processes() -> float:
    """GB: the sum of the peaks of this process and of those that it has started."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    peaks = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{one.pid}/status").read_text()) for one in processes]
    return sum(int(peak[1]) for peak in peaks if peak) / 2**20


def peak_memory() -> None:
    features, mos = make_features(10_000, np.random.default_rng(0))
    splits = random_splits(len(mos), None, 1, (70, 10, 20), seed=0)
    grid = Grid(elasticnet_alphas=(0.1, 0.03), l1_ratios=(0.5,))
    began = time.perf_counter()
    found = search(features, mos, splits, grid, machine.n_cores(), 8 * 2**30 - features.nbytes)
    fit(features, mos, found.best)
    print(f"10,000 x {N_FEATURES}, 1 split, {len(found.candidates)} candidates: peak {peak_of_all_processes():.1f} GB, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip


def default_search(n_images: int, n_features: int, n_splits: int = 10) -> Iterator[Row]:
    """The default search, and the tests of its choices, as ``train_regressor.py`` runs them."""
    features, mos = make_features(n_images, np.random.default_rng(0), n_features)
    splits = random_splits(n_images, None, n_splits, (70, 10, 20), seed=0)
    grid, began = Grid(), time.perf_counter()
    times: list[float] = []

    class TimedBar(ProgressBar):
        def add(self, n: int) -> None:
            times.extend([time.perf_counter() - began] * n)
            super().add(n)

    evaluation = run_protocol(features, mos, splits, grid, machine.n_cores(), machine.memory() // 2, make_bar=TimedBar)
    del times[n_splits * len(grid.paths()) :]  # those of the test fits
    seconds = time.perf_counter() - began
    name = f"default search, {n_splits} splits, {n_images}x{n_features}"
    yield Row(name, f"{times[-1] / 60:.1f} min", aim="20 min at 10,000x8192")
    for share in (0.1, 0.25, 0.5):
        done = round(share * len(times))
        predicted = times[done - 1] * len(times) / done
        name, ratio = f"  its end, predicted at {share:.0%} of the bar", f"{predicted / times[-1]:.2f}"
        yield Row(name, f"{predicted / 60:.1f} min", "", ratio)
    yield Row("  choice", str(evaluation.search.best))
    yield Row(f"  the {2 * n_splits + 1} fits after it", f"{(seconds - times[-1]) / 60:.1f} min")
    yield Row("  peak memory", f"{peak_of_all_processes():.1f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regressor_search", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300 images, 3 splits")
    parser.add_argument("--memory", action="store_true", help="peak memory at 10,000 images instead")
    parser.add_argument("--default", type=int, nargs=2, metavar=("IMAGES", "FEATURES"), help="the default search")
    options = parser.parse_args()
    if options.memory:
        peak_memory()
    elif options.default:
        print_table(default_search(*options.default))
    else:
        print_table(rows() if options.quick else rows(3000, 10))


if __name__ == "__main__":
    main()
