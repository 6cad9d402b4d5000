"""Across databases: ``python -m learning.regression.across --set NAME FEATURES SCORES.csv --set ...``

Prints the matrix train x test of SRCC and PLCC fit. Off the diagonal, a regressor is fitted on all images of one
database, with hyper-parameters chosen on its own splits, and tested on all images of another. On the diagonal is the
median over the database's splits (the official one, or random ones), with hyper-parameters chosen within each split.
``--output`` writes the matrix as a CSV, and as a coloured table in an HTML page beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import log, machine
from common.atomic_files import check_not_read, check_target, whole_file
from common.errors import UserError
from common.names import short_identity
from common.process import run_script
from datasets.opinions.tables import write_csv
from learning.regression.fit.settings import SHARES, Grid
from options.across import AcrossOptions, parse_across_options

if TYPE_CHECKING:
    from learning.regression.fit.splits import Split

DARKEST = (31, 84, 125)
"""Colour of a correlation of 1: red, green, blue, 0..255."""


@dataclass(frozen=True)
class ScoredSet:
    """A database: ``features`` (n, p) float32, ``mos`` (n,), and ``groups`` (n,) or None.

    ``official`` (n,) holds the parts of an official split, or is None. ``encoders`` is kind of features -> fingerprint
    of the encoder, or None where it is not recorded.
    """

    name: str
    features: np.ndarray
    mos: np.ndarray
    groups: np.ndarray | None
    official: np.ndarray | None = None
    encoders: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """SRCC and PLCC fit, (train, test) each, of the databases ``names``."""

    names: list[str]
    srcc: np.ndarray
    plcc: np.ndarray


def read_set(name: str, features: str, scores: str) -> ScoredSet:
    """Scores and features of a database; UserError where an image has no features."""
    # These import pandas, which --help does not need.
    from datasets.features.reading import FeatureFiles
    from datasets.opinions.scores import read_scores

    table, files = read_scores(scores), FeatureFiles(features)
    matched = files.match(table.images)
    missing = next((image for image in table.images if image not in matched), None)
    if missing is not None:
        raise UserError(f"{name}: image {missing} of {scores} has no features in {features}")
    features_of_images = files.read([matched[image] for image in table.images])
    return ScoredSet(name, features_of_images, table.mos, table.groups, table.official_split, files.encoders)


def matrix_across(sets: Sequence[ScoredSet], options: AcrossOptions) -> Matrix:
    """Trains on each set and tests on every set; UserError where they have features of different encoders."""
    # These import scikit-learn, which --help does not need.
    from learning.regression.evaluate.metrics import evaluate
    from learning.regression.evaluate.protocol import run_protocol

    for one in sets[1:]:
        _check_same_encoders(sets[0], one)
    _warn_of_shared_images(sets)
    grid = Grid() if options.estimator == "both" else Grid(estimators=(options.estimator,))
    threads, memory = options.num_threads or machine.n_cores(), machine.memory() // 2
    srcc, plcc = np.empty((2, len(sets), len(sets)))
    for row, train in enumerate(sets):
        evaluation = run_protocol(train.features, train.mos, _own_splits(train, options), grid, threads, memory)
        for column, test in enumerate(sets):
            if column == row:
                srcc[row, row] = evaluation.nested.spread("srcc").median
                plcc[row, row] = evaluation.nested.spread("plcc").median
            else:
                metrics = evaluate(evaluation.pipeline.predict(test.features.astype(np.float64)), test.mos)
                srcc[row, column], plcc[row, column] = metrics.srcc, metrics.plcc
    return Matrix([one.name for one in sets], srcc, plcc)


def _warn_of_shared_images(sets: Sequence[ScoredSet]) -> None:
    """Warns of images that are in two sets: a regressor is tested on what it has learned there."""
    from learning.regression.fit.identical_images import digests_of

    digests = [set(digests_of([], one.features)[-1]) for one in sets]
    for (one, of_one), (other, of_other) in combinations(zip(sets, digests, strict=True), 2):
        shared = len(of_one & of_other)
        if shared:
            log.warning(
                f"{shared:,d} images of {one.name} are in {other.name} too: trained and tested on the same ones"
            )


def _check_same_encoders(a: ScoredSet, b: ScoredSet) -> None:
    """UserError where the features of two sets are of different kinds, encoders or lengths."""
    if a.encoders.keys() != b.encoders.keys():
        kinds = [" and ".join(one.encoders) for one in (a, b)]
        raise UserError(f"{a.name} has {kinds[0]} features and {b.name} {kinds[1]}; both need the same kinds")
    for kind, encoder in a.encoders.items():
        other = b.encoders[kind]
        if encoder and other and encoder != other:
            raise UserError(
                f"the {kind} features of {a.name} are of encoder {short_identity(encoder)}, and those of {b.name} of "
                f"{short_identity(other)}; one encoder must have computed both"
            )
    if a.features.shape[1] != b.features.shape[1]:
        raise UserError(
            f"{a.name} has {a.features.shape[1]} features and {b.name} {b.features.shape[1]}; one encoder must have "
            "computed both"
        )


def _own_splits(one: ScoredSet, options: AcrossOptions) -> list[Split]:
    """The official split of a database where there is one, else random splits."""
    from learning.regression.fit.splits import checked, official_split, random_splits

    if one.official is not None:
        return checked(official_split(one.official, one.groups))
    return random_splits(len(one.mos), one.groups, options.n_splits, SHARES, options.seed)


def print_matrix(matrix: Matrix) -> None:
    """A table of SRCC and one of PLCC fit, a row for each database of training."""
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
    from learning.regression.report.pages import page_template, page_text  # imports jinja2

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
        outputs = [] if options.output is None else [options.output, options.output.with_suffix(".html")]
        for path in outputs:
            check_target(path)
            check_not_read("--output", path, [source for _, *sources in options.set for source in sources])
        sets = [read_set(*one) for one in options.set]
        matrix = matrix_across(sets, options)
        print_matrix(matrix)
        if outputs:
            table, page = outputs
            write_matrix(table, matrix)
            write_page(page, matrix, sets, options.n_splits)
            log.info(f"\nwritten    {table}, {page}")

    log.set_script("learning.regression.across")
    run_script(work)


if __name__ == "__main__":
    main()
