"""Options of train_regressor.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.machine import memory, n_cores
from common.names import KINDS
from datasets.opinions.databases import DATABASES
from learning.regression.fit.settings import CHOICES as HYPERPARAMETER_CHOICES
from learning.regression.fit.settings import LOGISTICS, N_RESAMPLES, N_SPLITS, SHARES, Grid
from options.argument_types import Parser, number, numbers

CHOICES = {"both": KINDS, **{kind.removesuffix("_aware"): (kind,) for kind in KINDS}}
"""Kinds of features, by their names on the command line."""


@dataclass(frozen=True)
class RegressorOptions:
    """The command line; every field has the meaning of the option with its name."""

    features: Path
    kind: str | None
    scores: Path | None
    also_train: Path | None
    database: str | None
    root: Path | None
    lower_is_better: bool
    skip_missing: bool
    group_identical: bool
    splits: str | None
    write_splits: Path | None
    n_splits: int
    shares: tuple[float, float, float]
    seed: int
    choice: str
    logistic: int
    n_bootstrap: int
    n_raters: int | None
    estimator: str
    standardize: str
    ridge_alphas: tuple[float, ...] | None
    elasticnet_alphas: tuple[float, ...] | None
    l1_ratios: tuple[float, ...] | None
    output: Path
    images: Path | None
    note: str | None
    no_report: bool
    num_threads: int | None
    memory: float | None

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The kinds of features to use; None: those that are there."""
        return CHOICES[self.kind] if self.kind else None

    @property
    def grid(self) -> Grid:
        """The candidates of the search."""
        default = Grid()
        return Grid(
            estimators=default.estimators if self.estimator == "both" else (self.estimator,),
            standardized=default.standardized if self.standardize == "both" else (self.standardize == "yes",),
            ridge_alphas=self.ridge_alphas or default.ridge_alphas,
            elasticnet_alphas=self.elasticnet_alphas or default.elasticnet_alphas,
            l1_ratios=self.l1_ratios or default.l1_ratios,
        )

    @property
    def splits_file(self) -> Path | None:
        """Where the splits are read from; None where they are official or random."""
        return Path(self.splits) if self.splits not in (None, "official", "random") else None

    @property
    def n_threads(self) -> int:
        """Threads of the search."""
        return self.num_threads or n_cores()

    @property
    def memory_bytes(self) -> int:
        """Memory that the search may use."""
        return int(self.memory * 2**30) if self.memory else memory() // 2

    @property
    def report(self) -> Path:
        """Path of the report, beside the regressor."""
        return self.output.with_suffix(".html")

    @property
    def images_folder(self) -> Path | None:
        """Folder in which the report looks for the images."""
        return self.images or self.root

    @property
    def labels_folder(self) -> Path:
        """Folder of the table of scores."""
        folder = self.scores.parent if self.scores else self.root
        assert folder is not None, "--database needs --root, and one of --scores and --database is required"
        return folder


def parse_regressor_options(arguments: Sequence[str] | None = None) -> RegressorOptions:
    """Parses the options; a mistake ends the program with a sentence and status 2."""
    parser = Parser(
        prog="train_regressor.py",
        description="Fits a regressor from features to opinion scores, and evaluates it by the protocol of the field.",
    )
    _add_data_options(parser.add_argument_group("features and scores"))
    _add_protocol_options(parser.add_argument_group("protocol"))
    _add_search_options(parser.add_argument_group("search"))
    _add_output_options(parser.add_argument_group("output"))
    options = RegressorOptions(**vars(parser.parse_args(arguments)))
    mistake = _first_mistake(options)
    if mistake:
        parser.error(mistake)
    return options


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--features",
        type=Path,
        default=Path(),
        help="folder with feats_*_aware/ in it, or a single file (.npz); of another program: a table (.csv) with the "
        "column image and a column for each feature, or an .npz with names and features",
    )
    group.add_argument("--kind", choices=CHOICES, help="features to use (default: those that are there)")
    scores = group.add_mutually_exclusive_group(required=True)
    scores.add_argument(
        "--scores",
        type=Path,
        help="table (.csv, .tsv or .xlsx) with the columns image and mos, and optionally group, split, kind, level, "
        "std and n_raters",
    )
    scores.add_argument("--database", choices=DATABASES, help="read the scores from the database's label files")
    group.add_argument("--root", type=Path, help="folder where the database was unpacked")
    group.add_argument(
        "--also_train",
        type=Path,
        metavar="SCORES",
        help="another table of scores, on the same scale, such as that of python -m datasets.weak_labels: its images "
        "are in the training part of every split, and are never tested on",
    )
    group.add_argument(
        "--lower_is_better",
        action="store_true",
        help="the scores of --scores and --also_train are difference scores: lower is better",
    )
    group.add_argument(
        "--skip_missing", action="store_true", help="leave out images without features instead of stopping"
    )
    group.add_argument(
        "--group_identical", action="store_true", help="put identical images into one group, which no split divides"
    )


def _add_protocol_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--splits",
        metavar="official|random|FILE",
        help="FILE: published splits, a CSV (pyiqa's meta-information) or a folder of train.npy, val.npy and test.npy "
        "(default: official where there is one, else random)",
    )
    group.add_argument("--write_splits", type=Path, help="write the splits there: a .csv, or a folder of .npy files")
    group.add_argument("--n_splits", type=number(int, 1), default=N_SPLITS, help="number of random splits")
    group.add_argument(
        "--shares",
        type=numbers(float),
        default=SHARES,
        help="train, validation and test shares of a random split",
    )
    group.add_argument("--seed", type=number(int, 0), default=0, help="random seed for splits and bootstrap")
    group.add_argument(
        "--choice",
        choices=HYPERPARAMETER_CHOICES,
        default="nested",
        help="hyper-parameters chosen within each split (nested), or one choice for all splits, which test images "
        "influence (shared, as in much of the literature)",
    )
    group.add_argument(
        "--logistic",
        type=int,
        choices=LOGISTICS,
        default=4,
        help="parameters of the logistic before PLCC fit and RMSE fit",
    )
    group.add_argument(
        "--n_bootstrap",
        type=number(int, 0),
        default=N_RESAMPLES,
        help="bootstrap resamples for the 95 %% intervals; 0: no intervals",
    )
    group.add_argument(
        "--n_raters",
        type=number(int, 2),
        help="raters of each image, where the table has a column std but no column n_raters",
    )


def _add_search_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--estimator", choices=("ridge", "elasticnet", "both"), default="both", help="family of regressors"
    )
    group.add_argument(
        "--standardize", choices=("yes", "no", "both"), default="both", help="scale features to unit variance"
    )
    group.add_argument("--ridge_alphas", type=numbers(float), help="penalties (default: 28, from 1e-3 to 1e6)")
    group.add_argument("--elasticnet_alphas", type=numbers(float), help="penalties (default: 9, from 1e-3 to 10)")
    group.add_argument("--l1_ratios", type=numbers(float), help="l1_ratio of ElasticNet (default: 0.1,0.5,0.9)")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--output",
        type=Path,
        default=Path("regressor.skops"),
        help="the regressor; .safetensors, .json, .held_out.csv and .html are written beside it",
    )
    group.add_argument("--images", type=Path, help="folder of the images, for the report's pictures (default: --root)")
    group.add_argument("--note", help="a sentence for the top of the report")
    group.add_argument("--no_report", action="store_true", help="write no report")
    group.add_argument("-j", "--num_threads", type=number(int, 1), help="threads of the search (default: all cores)")
    group.add_argument("--memory", type=number(float, above=0), help="GB the search may use (default: half of all)")


def _first_mistake(options: RegressorOptions) -> str | None:
    """What is wrong with the combination of options, or None."""
    if options.database and not options.root:
        return f"--database {options.database} needs --root, the folder where it was unpacked"
    if options.splits_file and (options.n_splits, options.shares) != (N_SPLITS, SHARES):
        return f"--splits {options.splits_file} names the splits; --n_splits and --shares are for random ones"
    if options.root and not options.database:
        return "--root goes with --database"
    if options.lower_is_better and options.database:
        return "--lower_is_better is for --scores; for a database it is known"
    if len(options.shares) != 3 or min(options.shares) <= 0:
        return "--shares takes three numbers over 0, such as 70,10,20"
    for name in ("ridge_alphas", "elasticnet_alphas"):
        alphas = getattr(options, name)
        if alphas is not None and not (alphas and min(alphas) > 0):
            return f"--{name} takes numbers over 0, such as 1,10,100"
    ratios = options.l1_ratios
    if ratios is not None and not (ratios and min(ratios) > 0 and max(ratios) <= 1):
        return "--l1_ratios takes numbers over 0 and at most 1, such as 0.1,0.5"
    if options.output.suffix != ".skops":
        return f"--output {options.output}: the name must end in .skops"
    return None
