"""Trained on one database, tested on another: the matrix train x test of SRCC and PLCC fit.

Off the diagonal, a regressor is fitted on all images of one database, with hyper-parameters chosen on its own splits,
and tested on all images of another. On the diagonal is the median over the database's splits (the official one, or
random ones), with hyper-parameters chosen within each split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from common import log, machine
from common.atomic_files import check_not_read, check_target
from common.names import SHARES
from common.tables import print_table
from datasets.features.reading import FeatureFiles
from datasets.opinions.databases import DATABASES, read_database
from datasets.opinions.scores import OpinionScores, read_scores
from datasets.opinions.tables import write_csv
from learning.regression.evaluate.metrics import metrics_of
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.labelled_features import with_features
from learning.regression.fit.search import Grid
from learning.regression.fit.splits import Split, official_split, random_splits
from networks.errors import UserError
from networks.names import short_identity

if TYPE_CHECKING:
    from learning.regression.across import AcrossOptions


@dataclass(frozen=True)
class ScoredSet:
    """A database and its ``features`` (n, p) float32.

    ``encoders`` is kind of features -> identity of the encoder, or None where it is not recorded.
    """

    name: str
    scores: OpinionScores
    features: np.ndarray
    encoders: Mapping[str, str | None] = field(default_factory=dict)


def train_and_test_across(options: AcrossOptions) -> None:
    """Reads the databases that the options name, trains on each, tests on all, and prints and writes the matrix."""
    if options.output is not None:
        check_target(options.output)
        check_not_read("--output", options.output, [source for _, *sources in options.set for source in sources])
    sets = [read_set(*one) for one in options.set]
    names, matrix = [one.name for one in sets], matrix_across(sets, options)
    for title, values in zip(("SRCC", "PLCC fit"), matrix, strict=True):
        log.info(f"\n{title}, row: trained on, column: tested on (diagonal: own splits)")
        cells = [[name, *(f"{value:.4f}" for value in row)] for name, row in zip(names, values, strict=True)]
        print_table(options.table, ["", *names], cells)
    if options.output is not None:
        texts = np.char.mod("%.6f", matrix)
        rows = ((names[a], names[b], *texts[:, a, b]) for a, b in np.ndindex(texts.shape[1:]))
        write_csv(options.output, ("train", "test", "srcc", "plcc"), rows)
        log.info(f"\nwritten    {options.output}")


def read_opinions(source: str) -> OpinionScores:
    """The scores in a table, or, where ``source`` is NAME:ROOT (as clive:/data/CLIVE), in a database's label files."""
    name, _, root = source.partition(":")
    return read_database(name, root) if root and name in DATABASES else read_scores(source)


def read_set(name: str, features: str, scores: str) -> ScoredSet:
    """Scores and features of a database; UserError where an image has no features."""
    files = FeatureFiles(features)
    table, names = with_features(read_opinions(scores), files)
    if table.mos.min() == table.mos.max():
        raise UserError(f"all scores of {scores} are {table.mos[0]:g}; there is nothing to learn from them")
    return ScoredSet(name, table, files.read(names), files.encoders)


def matrix_across(sets: Sequence[ScoredSet], options: AcrossOptions) -> np.ndarray:
    """SRCC and PLCC fit, (2, train, test); UserError where the sets have features of different encoders."""
    for one in sets[1:]:
        _check_same_encoders(sets[0], one)
    grid = Grid(estimators=Grid.estimators if options.estimator == "both" else (options.estimator,))
    threads, memory = options.num_threads, machine.memory() // 2
    matrix = np.empty((2, len(sets), len(sets)))
    of_all = [splits_of(one, options) for one in sets]
    for row, (train, splits) in enumerate(zip(sets, of_all, strict=True)):
        evaluation = run_protocol(train.features, train.scores.mos, splits, grid, threads, memory)
        for column, test in enumerate(sets):
            if column == row:
                matrix[:, row, row] = [evaluation.tests["nested"].median(metric) for metric in ("srcc", "plcc")]
            else:
                metrics = metrics_of(evaluation.model.predict(test.features), test.scores.mos)
                matrix[:, row, column] = metrics.srcc, metrics.plcc
    return matrix


def splits_of(one: ScoredSet, options: AcrossOptions) -> list[Split]:
    """The official split, or random ones; UserError, which names the set, where it is too small to be split."""
    parts, groups = one.scores.official_split, one.scores.groups
    try:
        if parts is not None:
            return official_split(parts, groups)
        return random_splits(len(one.scores), groups, options.n_splits, SHARES, options.seed)
    except UserError as error:
        raise UserError(f"{one.name}: {error.sentence}") from None


def _check_same_encoders(a: ScoredSet, b: ScoredSet) -> None:
    """UserError where the features of two sets are of different kinds, encoders or lengths."""
    same = a.encoders.keys() == b.encoders.keys() and a.features.shape[1] == b.features.shape[1]
    if same and all(not own or b.encoders[kind] in (own, None) for kind, own in a.encoders.items()):
        return
    of_a, of_b = (
        f"{one.features.shape[1]} features ("
        + " and ".join(f"{kind} by encoder {short_identity(own or 'unknown')}" for kind, own in one.encoders.items())
        + ")"
        for one in (a, b)
    )
    raise UserError(f"{a.name} has {of_a}, and {b.name} {of_b}; one encoder must have computed both")
