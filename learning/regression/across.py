"""Across databases: ``python -m learning.regression.across --set NAME FEATURES SCORES.csv --set ...``

Prints the matrix train x test of SRCC and PLCC fit. Off the diagonal, a regressor is fitted on all images of one
database, with hyper-parameters chosen on its own splits, and tested on all images of another. On the diagonal is the
median over the database's splits (the official one, or else random ones), with hyper-parameters chosen within each
split. ``--output`` writes the matrix as a CSV, and as a coloured table in an HTML page beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import log, machine
from common.atomic_files import whole_file
from common.errors import UserError
from common.process import run_script
from datasets.tables import write_csv
from learning.regression.settings import Grid
from options.across import AcrossOptions, parse_across_options

DARKEST = (31, 84, 125)
"""Colour of a correlation of 1: red, green, blue, 0..255."""


@dataclass(frozen=True)
class ScoredSet:
    """A database: ``features`` (n, p) float32, ``mos`` (n,), ``groups`` (n,) or None.

    ``official`` (n,) names the part of each image in the official split; None where there is none.
    """

    name: str
    features: np.ndarray
    mos: np.ndarray
    groups: np.ndarray | None
    official: np.ndarray | None = None


@dataclass(frozen=True)
class Matrix:
    """SRCC and PLCC fit, (train, test) each, of the databases ``names``."""

    names: list[str]
    srcc: np.ndarray
    plcc: np.ndarray


def read_set(name: str, features: str, scores: str) -> ScoredSet:
    """Scores and features of a database; UserError where an image has no features."""
    # These import pandas, which --help does not need.
    from datasets.feature_files import FeatureFiles
    from datasets.opinion_scores import read_scores

    table, files = read_scores(scores), FeatureFiles(features)
    matched = files.match(table.images)
    missing = next((image for image in table.images if image not in matched), None)
    if missing is not None:
        raise UserError(f"{name}: image {missing} of {scores} has no features in {features}")
    features = files.read([matched[image] for image in table.images])
    return ScoredSet(name, features, table.mos, table.groups, table.official_split)


def matrix_across(sets: Sequence[ScoredSet], options: AcrossOptions) -> Matrix:
    """Trains on each set and tests on every set; UserError where their features differ in length."""
    # These import scikit-learn, which --help does not need.
    from learning.regression.evaluation import run_protocol
    from learning.regression.metrics import evaluate
    from learning.regression.splits import official_split, random_splits

    for one in sets[1:]:
        if one.features.shape[1] != sets[0].features.shape[1]:
            raise UserError(
                f"{sets[0].name} has {sets[0].features.shape[1]} features and {one.name} {one.features.shape[1]}; "
                "one encoder must have computed both"
            )
    grid = Grid() if options.estimator == "both" else Grid(estimators=(options.estimator,))
    threads, memory = options.num_threads or machine.n_cores(), machine.memory() // 2
    srcc, plcc = np.empty((2, len(sets), len(sets)))
    for row, train in enumerate(sets):
        if train.official is not None:
            splits = official_split(train.official, train.groups)
        else:
            splits = random_splits(len(train.mos), train.groups, options.n_splits, (70, 10, 20), options.seed)
        evaluation = run_protocol(train.features, train.mos, splits, grid, threads, memory)
        for column, test in enumerate(sets):
            if column == row:
                srcc[row, row] = evaluation.nested.spread("srcc").median
                plcc[row, row] = evaluation.nested.spread("plcc").median
            else:
                metrics = evaluate(evaluation.pipeline.predict(test.features.astype(np.float64)), test.mos)
                srcc[row, column], plcc[row, column] = metrics.srcc, metrics.plcc
    return Matrix([one.name for one in sets], srcc, plcc)


def print_matrix(matrix: Matrix) -> None:
    for title, values in (("SRCC", matrix.srcc), ("PLCC fit", matrix.plcc)):
        log.info(f"\n{title}, row: trained on, column: tested on (diagonal: own splits)")
        log.info(" " * 16 + "".join(f"{name[:14]:>15}" for name in matrix.names))
        for name, row in zip(matrix.names, values, strict=True):
            log.info(f"{name[:15]:16}" + "".join(f"{value:15.4f}" for value in row))


def write_matrix(path: Path, matrix: Matrix) -> None:
    """A row for each pair: train, test, srcc, plcc."""
    rows = (
        (train, test, f"{matrix.srcc[row, column]:.6f}", f"{matrix.plcc[row, column]:.6f}")
        for row, train in enumerate(matrix.names)
        for column, test in enumerate(matrix.names)
    )
    write_csv(path, ("train", "test", "srcc", "plcc"), rows)


@dataclass(frozen=True)
class _Cell:
    text: str
    colour: str
    ink: str
    own: bool


@dataclass(frozen=True)
class _Row:
    name: str
    cells: list[_Cell]


@dataclass(frozen=True)
class _Table:
    metric: str
    rows: list[_Row]


def write_page(path: Path, matrix: Matrix, sets: Sequence[ScoredSet], n_splits: int) -> None:
    """The matrix as coloured tables in an HTML page."""
    from learning.regression.pages import page_template, page_text  # imports jinja2

    others = ~np.eye(len(sets), dtype=bool)
    page = page_template("across.html.j2").render(
        style=page_text("report.css"),
        title="Across databases",
        names=matrix.names,
        answer=f"SRCC on databases that the regressor has not seen: {matrix.srcc[others].min():.3f} to "
        f"{matrix.srcc[others].max():.3f}; within a database: {matrix.srcc[~others].min():.3f} to "
        f"{matrix.srcc[~others].max():.3f}.",
        tables=[_table("SRCC", matrix.names, matrix.srcc), _table("PLCC fit", matrix.names, matrix.plcc)],
        databases=[
            [
                one.name,
                f"{len(one.mos):,d}",
                "" if one.groups is None else f"{len(set(one.groups)):,d}",
                f"{n_splits} random" if one.official is None else "official",
            ]
            for one in sets
        ],
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _table(metric: str, names: Sequence[str], values: np.ndarray) -> _Table:
    return _Table(
        metric,
        [
            _Row(name, [_cell(value, column == row) for column, value in enumerate(values[row])])
            for row, name in enumerate(names)
        ],
    )


def _cell(correlation: float, own: bool) -> _Cell:
    """A cell between white (0 or less) and the plots' blue (1), with ink that can be read on it."""
    share = float(np.clip(correlation, 0, 1))
    red, green, blue = (round(255 + share * (full - 255)) for full in DARKEST)
    return _Cell(f"{correlation:.3f}", f"rgb({red}, {green}, {blue})", "#fff" if share > 0.6 else "#1f2933", own)


def main() -> None:
    options = parse_across_options()

    def work() -> None:
        sets = [read_set(*one) for one in options.set]
        matrix = matrix_across(sets, options)
        print_matrix(matrix)
        if options.output is not None:
            page = options.output.with_suffix(".html")
            write_matrix(options.output, matrix)
            write_page(page, matrix, sets, options.n_splits)
            log.info(f"\nwritten    {options.output}, {page}")

    log.set_script("learning.regression.across")
    run_script(work)


if __name__ == "__main__":
    main()
