"""How many opinions are enough: agreement on a fixed test part, over the number of opinions that a regressor learns.

``python -m benchmarks.opinions --own FEATURES SCORES --also_train FEATURES SCORES``; FEATURES are of the embedded
encoders, SCORES is a table with the column split, or NAME:ROOT of a database with an official split. Opinions are drawn
from all but the test part. Rows: a regressor of these opinions; one of these and of ``--also_train``, whose scores are
mapped to the scale of the others; each embedded model. Prints SRCC, as mean and deviation over the draws.
"""

import argparse

import numpy as np

from common import machine
from common.names import N_SPLITS, SHARES
from common.tables import TABLE_FORMS, print_table
from datasets.features.reading import FeatureFiles
from datasets.opinions.scores import OpinionScores
from learning.regression.evaluate.cross_database import read_opinions
from learning.regression.evaluate.metrics import srcc
from learning.regression.fit.search import Grid, fit, search
from learning.regression.fit.splits import Split, random_splits
from networks.embedded import embedded_regressor
from networks.names import EMBEDDED_MODELS
from networks.regressor import LinearModel, ScoringDescription, load_regressor

GRID = Grid(estimators=("ridge",), standardized=(True,))


def read(features: str, scores: str) -> tuple[np.ndarray, OpinionScores]:
    """The features (n, p), and the scores, of the images that have both."""
    files, table = FeatureFiles(features), read_opinions(scores)
    names = files.match(table.images)
    table = table.rows([row for row, image in enumerate(table.images) if image in names])
    return files.read([names[image] for image in table.images]), table


def fitted(features: np.ndarray, mos: np.ndarray, n_own: int, seed: int) -> LinearModel:
    """The protocol's regressor of (n, p) features; images after the first ``n_own`` train in every split."""
    others = np.arange(n_own, len(mos))
    splits = [
        Split(np.concatenate([one.train, others]), one.validation, one.test)
        for one in random_splits(n_own, None, N_SPLITS, SHARES, seed)
    ]
    return fit(features, mos, search(features, mos, splits, GRID, machine.n_cores(), machine.memory() // 2).best)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opinions", description=__doc__.splitlines()[0])
    parser.add_argument("--own", nargs=2, required=True, metavar=("FEATURES", "SCORES"))
    parser.add_argument("--also_train", nargs=2, required=True, metavar=("FEATURES", "SCORES"))
    parser.add_argument("--scale", type=float, nargs=4, default=(0, 100, 0, 1), help="ends of its scale, and of SCORES")
    parser.add_argument("--numbers", type=int, nargs="+", default=(50, 100, 200, 400, 800), help="of opinions")
    parser.add_argument("--draws", type=int, default=5, help="draws of each number (default: %(default)s)")
    parser.add_argument("--table", choices=TABLE_FORMS, default="text")
    options = parser.parse_args()

    features, scores = read(*options.own)
    is_test, mos = np.asarray(scores.official_split) == "test", scores.mos
    pool = np.flatnonzero(~is_test)
    others, other_scores = read(*options.also_train)
    low, high, new_low, new_high = options.scale
    other_mos = new_low + (other_scores.mos - low) / (high - low) * (new_high - new_low)
    agreement: dict[str, list[list[float]]] = {"own opinions": [], "joined by --also_train": []}
    for number in options.numbers:
        found: list[list[float]] = [[], []]
        for draw in range(options.draws):
            rows = np.random.default_rng((draw, number)).permutation(pool)[:number]
            joined = np.concatenate([features[rows], others]), np.concatenate([mos[rows], other_mos])
            for of_kind, (x, y) in zip(found, ((features[rows], mos[rows]), joined), strict=True):
                predicted = fitted(x, y, number, draw).predict(features[is_test])
                of_kind.append(float(srcc(predicted, mos[is_test])))
        for name, values in zip(agreement, found, strict=True):
            agreement[name].append(values)
            print(f"{number} {name}: {np.round(values, 4)}", flush=True)
    table = [
        [name, *(f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in of_kind)]
        for name, of_kind in agreement.items()
    ]
    for name in EMBEDDED_MODELS:
        predicted = load_regressor(embedded_regressor(name), ScoringDescription).predict(features[is_test])
        table.append([f"embedded model {name}", *[f"{srcc(predicted, mos[is_test]):.3f}"] * len(options.numbers)])
    print(f"SRCC on {is_test.sum():,d} test images, {options.draws} draws")
    print_table(options.table, ["opinions", *map(str, options.numbers)], table)


if __name__ == "__main__":
    main()
