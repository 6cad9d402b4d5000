"""Options of train_regressor.py."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from datasets.feature_files import KINDS
from datasets.iqa_databases import DATABASES
from options.argument_types import Parser, number, numbers

CHOICES = {"both": KINDS, **{kind.removesuffix("_aware"): (kind,) for kind in KINDS}}
"""Kinds of features as they are named on the command line."""


def parse_regressor_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the options; a mistake ends the program with a sentence and status 2.

    Adds ``kinds`` (or None, for whatever is there) and ``grid``, the fields of a ``regression.search.Grid`` that are
    given.
    """
    parser = Parser(
        prog="train_regressor.py",
        description="Fits a regressor from features to opinion scores, and evaluates it by the protocol of the field.",
    )
    data = parser.add_argument_group("features and scores")
    data.add_argument(
        "--features", type=Path, default=Path(), help="folder with feats_*_aware/ in it, or the single file (.npz)"
    )
    data.add_argument("--kind", choices=CHOICES, help="features to use (default: those that are there)")
    scores = data.add_mutually_exclusive_group(required=True)
    scores.add_argument("--scores", type=Path, help="CSV with image, mos, and optionally group and split")
    scores.add_argument("--database", choices=DATABASES, help="scores of this database, from its own label files")
    data.add_argument("--root", type=Path, help="where the database was unpacked")
    data.add_argument("--lower_is_better", action="store_true", help="the scores of --scores are difference scores")
    data.add_argument(
        "--skip_missing", action="store_true", help="leave out images without features instead of stopping"
    )

    protocol = parser.add_argument_group("protocol")
    protocol.add_argument(
        "--splits", choices=("official", "random"), help="(default: official where there is one, else random)"
    )
    protocol.add_argument("--n_splits", type=number(int, 1), default=10, help="random splits")
    protocol.add_argument(
        "--shares",
        type=numbers(float),
        default=(70, 10, 20),
        help="train, validation and test shares of a random split",
    )
    protocol.add_argument("--seed", type=number(int, 0), default=0, help="of the random splits")

    grid = parser.add_argument_group("what is searched")
    grid.add_argument(
        "--estimator", choices=("ridge", "elasticnet", "both"), default="both", help="family of regressors"
    )
    grid.add_argument("--standardize", choices=("yes", "no", "both"), default="both", help="features to unit variance")
    grid.add_argument("--ridge_alphas", type=numbers(float), help="penalties (default: 28, from 1e-3 to 1e6)")
    grid.add_argument("--elasticnet_alphas", type=numbers(float), help="penalties (default: 9, from 1e-3 to 10)")
    grid.add_argument("--l1_ratios", type=numbers(float), help="of ElasticNet (default: 0.1,0.5,0.9)")

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", type=Path, default=Path("regressor.skops"), help="the regressor; .json and .html go beside it"
    )
    output.add_argument("--images", type=Path, help="folder of the images, for the report's pictures (default: --root)")
    output.add_argument("--note", default="", help="a sentence for the top of the report")
    output.add_argument("--no_report", action="store_true", help="write no report")
    output.add_argument(
        "-j", "--num_threads", type=number(int, 1), default=os.cpu_count(), help="threads of the search"
    )
    output.add_argument("--memory", type=number(float, above=0), help="GB the search may use (default: half of all)")
    options = parser.parse_args(arguments)

    if options.database and not options.root:
        parser.error(f"--database {options.database} needs --root, the folder where it was unpacked")
    if options.root and not options.database:
        parser.error("--root goes with --database")
    if options.lower_is_better and options.database:
        parser.error("--lower_is_better is for --scores; of a database it is known")
    if len(options.shares) != 3 or min(options.shares) <= 0:
        parser.error("--shares takes three numbers over 0, such as 70,10,20")
    for name in ("ridge_alphas", "elasticnet_alphas"):
        if getattr(options, name) is not None and not (getattr(options, name) and min(getattr(options, name)) > 0):
            parser.error(f"--{name} takes numbers over 0, such as 1,10,100")
    if options.l1_ratios is not None and not (
        options.l1_ratios and min(options.l1_ratios) > 0 and max(options.l1_ratios) <= 1
    ):
        parser.error("--l1_ratios takes numbers over 0 and at most 1, such as 0.1,0.5")
    if options.output.suffix != ".skops":
        parser.error(f"--output {options.output}: the name must end in .skops")

    options.kinds = CHOICES[options.kind] if options.kind else None
    options.images = options.images or options.root
    options.grid = {
        name: getattr(options, name)
        for name in ("ridge_alphas", "elasticnet_alphas", "l1_ratios")
        if getattr(options, name) is not None
    }
    if options.estimator != "both":
        options.grid["estimators"] = (options.estimator,)
    if options.standardize != "both":
        options.grid["standardized"] = (options.standardize == "yes",)
    return options
