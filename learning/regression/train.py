"""The work of train_regressor.py, step by step: data, splits, evaluation, description, files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import log
from common.atomic_files import check_not_read, check_target
from common.errors import UserError
from common.names import GIVEN
from common.progress_bar import ProgressBar
from datasets.features.reading import FeatureFiles
from datasets.opinions.databases import read_database
from datasets.opinions.scores import OpinionScores, identical_across, read_scores
from learning.regression.evaluate.breakdown import breakdown
from learning.regression.evaluate.held_out import HeldOut, held_out_file, write_held_out
from learning.regression.evaluate.observers import observer_spread
from learning.regression.evaluate.protocol import Evaluation, TestResults, n_test_fits, run_protocol
from learning.regression.evaluate.results import LABELS, METRICS, Breakdown, ObserverSpread
from learning.regression.evaluate.significance import bootstrap_intervals
from learning.regression.fit.identical_images import (
    Digests,
    digests_of,
    grouped_by_content,
    warn_of_identical_parts,
)
from learning.regression.fit.split_files import read_splits, write_splits
from learning.regression.fit.splits import Split, official_split, random_splits, splits_in_words
from learning.regression.model.description import BootstrapIntervals, RegressorDescription, Sources, describe
from learning.regression.model.files import description_file, save_regressor, weights_file
from learning.regression.report.report import find_pictures, write_report
from options.regressor import RegressorOptions


@dataclass(frozen=True)
class LabelledFeatures:
    """Scored images and their ``features``, (n + m, values of all kinds) float32.

    The first n rows are those of ``scores``, the last m those of ``only_train``, the images of ``--also_train``.
    ``digests`` tell which images are identical.
    """

    scores: OpinionScores
    only_train: OpinionScores | None
    features: np.ndarray
    files: FeatureFiles
    digests: Digests

    @property
    def images(self) -> list[str]:
        """Names of the n + m images."""
        return self.scores.images + (self.only_train.images if self.only_train else [])

    @property
    def mos(self) -> np.ndarray:
        """(n + m,) scores."""
        return np.concatenate([self.scores.mos, self.only_train.mos]) if self.only_train else self.scores.mos

    def training_splits(self, splits: list[Split]) -> list[Split]:
        """``splits`` of the n images, with all m others in the training parts."""
        others = np.arange(len(self.scores), len(self.features))
        return [Split(np.concatenate([one.train, others]), one.validation, one.test) for one in splits]


def train_regressor(options: RegressorOptions) -> None:
    """Evaluates and fits a regressor as the options say, and writes it, its description and its report."""
    check_target(options.output)
    read = [options.features, *filter(None, (options.scores, options.also_train, options.splits_file))]
    check_not_read("--output", held_out_file(options.output), read)
    if options.write_splits is not None:
        check_not_read("--write_splits", options.write_splits, read)
        if options.write_splits.resolve() in (path.resolve() for path in _outputs(options)):
            raise UserError(f"--write_splits {options.write_splits} is a file that --output writes; name another file")
    data = read_data(options)
    splits, protocol = make_splits(data.scores, options)
    if options.write_splits is not None:
        write_splits(options.write_splits, splits, data.scores.images)
    if data.only_train is not None:
        protocol += f"; {len(data.only_train):,d} images of {data.only_train.source} train in every split"
    _print_data(data, protocol)
    splits = data.training_splits(splits)
    warn_of_identical_parts(data.images, splits, data.digests)
    n_constant = sum(np.ptp(data.mos[split.test]) == 0 for split in splits)
    if n_constant:
        log.warning(f"all scores of the test part are equal in {n_constant} of {len(splits)} splits; their SRCC is 0")

    evaluation = evaluate(data, splits, options)
    scores = data.scores
    held_out = evaluation.held_out(scores.images, scores.mos, scores.groups, scores.kinds, scores.levels)
    print_evaluation(evaluation)
    intervals = make_intervals(held_out, options)
    by_distortion = breakdown(held_out, options.logistic)
    print_breakdown(by_distortion)
    observers = spread_of_observers(scores, held_out, options)

    sources = Sources(
        kinds=tuple(data.files.kinds),
        encoders=data.files.encoders,
        scores=scores.source,
        inversion=scores.inversion,
        protocol=protocol,
        note=options.note or "",
    )
    description = describe(evaluation, scores.mos, sources, intervals, observers, by_distortion)
    _print_prediction_intervals(description)
    written = write_results(scores, evaluation, held_out, description, options)
    log.info(f"\nwritten    {', '.join(map(str, written))}")


def _outputs(options: RegressorOptions) -> list[Path]:
    output = options.output
    return [output, weights_file(output), description_file(output), held_out_file(output), options.report]


def read_data(options: RegressorOptions) -> LabelledFeatures:
    """Scores and features; UserError where they do not belong together or hold nothing to learn."""
    scores = _read_scores(options)
    files = FeatureFiles(options.features, options.kinds)
    scores, names = _with_features(scores, files, options.skip_missing)
    only_train = None
    if options.also_train is not None:
        only_train = read_scores(options.also_train, options.lower_is_better)
        if only_train.official_split is not None:
            log.warning(f"the column split of {only_train.source} is not used: all its images train in every split")
        only_train, others = _with_features(only_train, files, options.skip_missing)
        _check_disjoint(scores, names, only_train, others)
        _check_scale(scores, only_train)
        names = names + others
    unused = len(files.names) - len(names)
    if unused:
        log.warning(f"{unused:,d} images have features but no score and are not used")
    if scores.mos.min() == scores.mos.max():
        raise UserError(f"all scores of {scores.source} are {scores.mos[0]:g}; there is nothing to learn from them")
    features = files.read(names)
    digests = digests_of(files.file_digests(names), features)
    if only_train is not None:
        _check_different(scores, only_train, digests)
    if options.group_identical:
        scores = grouped_by_content(scores, [of_kind[: len(scores)] for of_kind in digests])
    return LabelledFeatures(scores, only_train, features, files, digests)


def _check_disjoint(scores: OpinionScores, names: list[str], only_train: OpinionScores, others: list[str]) -> None:
    """UserError where an image, or a group, is in both tables: it would be trained and tested on.

    ``names`` and ``others`` are those of the images' features, which the tables may call by different paths. A group of
    ``only_train`` may also be the name of a scored photograph, of which its images are versions.
    """
    groups, other_groups = (set() if one.groups is None else set(one.groups) for one in (scores, only_train))
    sources = other_groups & (set(names) | set(scores.images))
    for what, both in (("image", set(names) & set(others) | sources), ("group", groups & other_groups)):
        if both:
            raise UserError(
                f"--also_train {only_train.source}: {what} {min(both)} is in {scores.source} as well; its images train "
                "in every split, so no split may test on the same image or group"
            )


def _check_different(scores: OpinionScores, only_train: OpinionScores, digests: Digests) -> None:
    """UserError where an image of ``only_train`` is identical to a scored one; ``digests`` are of both tables."""
    n = len(scores)
    for of_kind in digests:
        for one, other in identical_across(of_kind, range(n), range(n, n + len(only_train))):
            raise UserError(
                f"--also_train {only_train.source}: image {only_train.images[other - n]} is identical to "
                f"{scores.images[one]} of {scores.source}, on which a split would test; leave it out of one table"
            )


def _check_scale(scores: OpinionScores, only_train: OpinionScores) -> None:
    """UserError where the ranges of the two tables do not overlap."""
    (low, high), (other_low, other_high) = ((one.mos.min(), one.mos.max()) for one in (scores, only_train))
    if other_low > high or other_high < low:
        raise UserError(
            f"--also_train {only_train.source}: its scores are from {other_low:g} to {other_high:g}, those of "
            f"{scores.source} from {low:g} to {high:g}; both must be on the same scale"
        )


def _read_scores(options: RegressorOptions) -> OpinionScores:
    if options.scores is not None:
        return read_scores(options.scores, options.lower_is_better)
    assert options.database is not None, "one of --scores and --database is required"
    return read_database(options.database, options.labels_folder)


def _with_features(scores: OpinionScores, files: FeatureFiles, skip_missing: bool) -> tuple[OpinionScores, list[str]]:
    """The scored images that have features, and the names of these; UserError where some have none, unless skipped."""
    matched = files.match(scores.images)
    missing = [image for image in scores.images if image not in matched]
    if len(missing) == len(scores):
        raise UserError(
            f"no image of {scores.source} has features in {files.source}; the table lists {missing[0]}, and the "
            f"features include {files.names[0]}"
        )
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing):,d} of {len(scores):,d} images of {scores.source} have no features in {files.source}, "
            f"{', '.join(missing[:3])} among them; compute theirs, or leave them out with --skip_missing"
        )
    if missing:
        log.warning(f"{len(missing):,d} images of {scores.source} have no features and are left out")
    kept = scores.rows([row for row, image in enumerate(scores.images) if image in matched])
    return kept, [matched[image] for image in kept.images]


def make_splits(scores: OpinionScores, options: RegressorOptions) -> tuple[list[Split], str]:
    """The splits, and how they were made in words."""
    if options.splits_file is not None:
        splits = read_splits(options.splits_file, scores)
        sizes = "/".join(str(len(part)) for part in splits[0].parts().values())
        return (
            splits,
            f"{len(splits)} from {options.splits_file}, {sizes} images for train/validation/test in the first",
        )
    parts = scores.official_split
    if options.splits == "official" and parts is None:
        raise UserError(f"{scores.source} has no official split; --splits random makes random splits")
    if parts is not None and options.splits != "random":
        splits = official_split(parts, scores.groups)
        return splits, splits_in_words(splits, True, scores.groups, options.seed)
    splits = random_splits(len(scores), scores.groups, options.n_splits, options.shares, options.seed)
    return splits, splits_in_words(splits, False, scores.groups, options.seed)


def _print_data(data: LabelledFeatures, protocol: str) -> None:
    scores, files = data.scores, data.files
    log.info(
        f"scores     {scores.source}: {len(scores):,d} images, {scores.mos.min():g} to {scores.mos.max():g}, "
        "higher is better"
    )
    if scores.inversion:
        log.info(f"           {scores.inversion}")
    kinds = "of another program" if files.kinds == [GIVEN] else " and ".join(files.kinds)
    log.info(f"features   {kinds}, {data.features.shape[1]} values, from {files.source}")
    log.info(f"splits     {protocol}")
    unknown = [kind for kind in files.kinds if kind != GIVEN and not files.encoders[kind]]
    if unknown:
        log.warning(f"the encoder of the {' and '.join(unknown)} features is unknown: no encoder.json beside them")


def evaluate(data: LabelledFeatures, splits: list[Split], options: RegressorOptions) -> Evaluation:
    """The protocol, with a progress bar for the search, which counts paths of penalties, and one for the tests."""
    bar = ProgressBar(len(splits) * len(options.grid.paths()), "path")
    test_bar: ProgressBar | None = None

    def advance_tests(n_fits: int) -> None:
        nonlocal test_bar
        if test_bar is None:  # its clock starts when the search has ended
            bar.close()
            test_bar = ProgressBar(n_test_fits(splits), "test fit")
        test_bar.add(n_fits)

    evaluation = run_protocol(
        data.features,
        data.mos,
        splits,
        options.grid,
        options.n_threads,
        options.memory_bytes,
        bar.add,
        options.choice,
        options.logistic,
        advance_tests,
    )
    if test_bar is not None:
        test_bar.close()
    return evaluation


def print_evaluation(evaluation: Evaluation) -> None:
    """The search's choice and the metrics on the test parts."""
    search = evaluation.search
    log.info(
        f"search     {search.srcc.size:,d} fits; best median validation SRCC {search.median.max():.4f}: {search.best}"
    )
    n_unconverged = int(search.unconverged.sum())
    if n_unconverged:
        log.warning(f"{n_unconverged:,d} ElasticNet fits did not converge and were judged as they were")
    both = {"nested": evaluation.nested, "shared": evaluation.shared}
    for choice in sorted(both, key=lambda choice: choice != evaluation.choice):
        _print_results(both[choice], TITLES[choice])


TITLES = {
    "nested": "test, hyper-parameters chosen within each split",
    "shared": "test, one choice of hyper-parameters for all splits (test images influence the choice)",
}


def _print_results(results: TestResults, title: str) -> None:
    log.info(f"\n{title}")
    log.info("           median    25 %    75 %   lowest  highest")
    for metric in METRICS:
        spread = results.spread(metric)
        values = (spread.median, spread.lower_quartile, spread.upper_quartile, spread.lowest, spread.highest)
        log.info(f"{LABELS[metric]:8} " + " ".join(f"{value:8.4f}" for value in values))
    if results.linear_mappings:
        log.warning(
            f"the logistic did not converge on {results.linear_mappings} of {len(results.splits)} splits; PLCC fit and "
            "RMSE fit are after a straight line there"
        )


def make_intervals(held_out: HeldOut, options: RegressorOptions) -> BootstrapIntervals | None:
    """Bootstrap intervals of the held-out predictions, printed with the time that they took."""
    if not options.n_bootstrap:
        return None
    began = time.perf_counter()
    found = bootstrap_intervals(held_out, options.logistic, options.n_bootstrap, options.seed)
    seconds = time.perf_counter() - began
    unit = "images" if held_out.groups is None else "groups"
    log.info(
        f"\n95 % intervals of these medians, {options.n_bootstrap:,d} bootstrap samples of the {unit} ({seconds:.0f} s)"
    )
    for metric, interval in found.items():
        log.info(f"{LABELS[metric]:8} {interval.estimate:8.4f}   [{interval.low:.4f}, {interval.high:.4f}]")
    return BootstrapIntervals(found, options.n_bootstrap, options.seed)


def print_breakdown(found: Breakdown | None) -> None:
    """A table per kind and a table per level of distortion, where the database has them."""
    for name, results in found.tables.items() if found else ():
        log.info(f"\nheld-out images by {name} of distortion: median over the splits, logistic of all kinds and levels")
        log.info("images     SRCC PLCC fit RMSE fit  " + name)
        for one in results:
            values = ("-" if value is None else f"{value:.4f}" for value in (one.srcc, one.plcc, one.rmse))
            log.info(f"{one.n_images:6,d}" + "".join(f"{value:>9}" for value in values) + f"  {one.label}")


def spread_of_observers(scores: OpinionScores, held_out: HeldOut, options: RegressorOptions) -> ObserverSpread | None:
    """The spread of the observers, where the table has it; printed."""
    std, n_raters = scores.std, scores.n_raters
    if std is None:
        return None
    if n_raters is None and options.n_raters is not None:
        n_raters = np.full(len(scores), float(options.n_raters))
    if n_raters is None:
        log.warning("the table has the observers' std but not their number; --n_raters gives it")
        return None
    tested = held_out.tested
    mapped = held_out.mapped(options.logistic)[tested]
    spread = observer_spread(mapped, held_out.mos[tested], std[tested], n_raters[tested], options.logistic)
    log.info(
        f"\nobservers  std {spread.mean_std:.3g}, {spread.mean_raters:.3g} raters an image; SRCC between two halves of "
        f"them {spread.ceiling:.4f}"
    )
    log.info(f"           outlier ratio {spread.outlier_ratio:.4f}, epsilon-insensitive RMSE {spread.rmse_epsilon:.4f}")
    return spread


def _print_prediction_intervals(description: RegressorDescription) -> None:
    intervals = description.prediction_intervals
    if intervals is not None and intervals.coverage is not None:
        log.info(
            f"intervals  90 % of opinions lie within {intervals.half_width(0.9):.3g} of the prediction; on held-out "
            f"images {intervals.coverage:.1%} did"
        )


def write_results(
    scores: OpinionScores,
    evaluation: Evaluation,
    held_out: HeldOut,
    description: RegressorDescription,
    options: RegressorOptions,
) -> list[Path]:
    """Writes the regressor, its description, its held-out predictions and the report; returns the paths."""
    output = options.output
    write_held_out(held_out_file(output), held_out)
    save_regressor(output, evaluation.pipeline, description, held_out_file(output))
    if options.no_report:
        return _outputs(options)[:-1]
    pictures = find_pictures(scores.images, options.labels_folder, options.images_folder)
    if not pictures:
        log.warning("the report is without pictures, as the image files were not found; --images names their folder")
    write_report(options.report, scores, evaluation, held_out, description, pictures)
    return _outputs(options)
