"""Options of train_regressor.py."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.machine import memory, n_cores
from common.names import N_RESAMPLES, N_SPLITS, SHARES
from common.tables import TABLE_FORMS
from datasets.opinions.databases import DATABASES
from networks.errors import UserError
from networks.names import KINDS
from options.builder import Computed, option, parse

KIND_CHOICES = {"both": KINDS, **{kind.removesuffix("_aware"): (kind,) for kind in KINDS}}
"""Kinds of features, by their names on the command line."""


@dataclass(frozen=True)
class RegressorOptions:
    """Fits a regressor from features to opinion scores, and evaluates it by the protocol of the field."""

    features: Path = option(
        Path(),
        "folder with feats_*_aware/ in it, or a single file (.npz); of another program: a table (.csv) with the "
        "column image and a column for each feature, or an .npz with names and features",
        group="features and scores",
    )  # fmt: skip
    kind: str | None = option(None, "features to use (default: those that are there)", choices=KIND_CHOICES)
    scores: Path | None = option(
        None,
        "table (.csv, .tsv or .xlsx) with the columns image and mos, and optionally group, split, std and n_raters; "
        "required, unless --database is given",
    )
    database: str | None = option(None, "read the scores from the database's label files", choices=DATABASES)
    root: Path | None = option(None, "folder where the database was unpacked")
    also_train: Path | None = option(
        None,
        "another table of scores, on the same scale, such as that of python -m datasets.weak_labels: its images are in "
        "the training part of every split, and are never tested on", metavar="SCORES",
    )  # fmt: skip
    undistorted: Path | None = option(
        None, "features of undistorted photographs that are not in the fit: what they score is recorded, and stated "
        "with every score", metavar="FEATURES",
    )  # fmt: skip
    lower_is_better: bool = option(
        False, "the scores of --scores and --also_train are difference scores: lower is better"
    )
    scale: tuple[float, float] | None = option(
        None, "ends of the opinions' scale, such as 1,5; a grade of a score is a fifth of it (default: the lowest and "
        "the highest opinion)", metavar="WORST,BEST",
    )  # fmt: skip
    skip_missing: bool = option(False, "leave out images without features instead of stopping")
    group_identical: bool = option(False, "put identical images into one group, which no split divides")
    group_similar: float | None = option(
        None, "put images whose content-aware features are as similar as this into one group, too; 0.8 finds "
        "photographs of one scene", at_least=0.5, at_most=1, metavar="COSINE",
    )  # fmt: skip

    splits: str | None = option(
        None, "FILE: published splits, a CSV of pyiqa's meta-information (default: official where there is one, else "
        "random)",
        group="protocol", metavar="official|random|FILE",
    )  # fmt: skip
    n_splits: int = option(N_SPLITS, "number of random splits", at_least=1)
    shares: tuple[float, float, float] = option(SHARES, "train, validation and test shares of a random split", above=0)
    seed: int = option(0, "random seed for splits and bootstrap", at_least=0)
    n_bootstrap: int = option(N_RESAMPLES, "bootstrap resamples for the 95 % intervals; 0: no intervals", at_least=0)
    n_raters: int | None = option(
        None, "raters of each image, where the table has a column std but no column n_raters", at_least=2
    )

    estimator: str = option("both", "family of regressors", group="search", choices=("ridge", "elasticnet", "both"))
    standardize: str = option("both", "scale features to unit variance", choices=("yes", "no", "both"))
    ridge_alphas: tuple[float, ...] | None = option(None, "penalties (default: 28, from 1e-3 to 1e6)", above=0)
    elasticnet_alphas: tuple[float, ...] | None = option(None, "penalties (default: 9, from 1e-3 to 10)", above=0)
    l1_ratios: tuple[float, ...] | None = option(
        None, "l1_ratio of ElasticNet (default: 0.1,0.5,0.9)", above=0, at_most=0.99
    )

    output: Path = option(
        Path("regressor.skops"), "the regressor; .safetensors, .json, .held_out.csv and .html are written beside it",
        group="output",
    )  # fmt: skip
    images: Path | None = option(
        Computed("--root", lambda given: given.root), "folder of the images, for the report's pictures"
    )
    compare_embedded: bool = option(
        False, "compare with the embedded model, which scores the photographs (--images); features of the embedded "
        "encoders are compared without this option, at no cost",
    )  # fmt: skip
    table: str = option(TABLE_FORMS[0], "form of the comparison; latex, markdown: for a paper", choices=TABLE_FORMS)
    note: str | None = option(None, "a sentence for the top of the report")
    no_report: bool = option(False, "write no report")
    num_threads: int = option(
        Computed("all cores", lambda given: n_cores()), "threads of the search", short="-j", at_least=1
    )
    memory: float = option(Computed("half of all", lambda given: memory() / 2**31), "GB the search may use", above=0)

    def __post_init__(self) -> None:
        if (self.scores is None) == (self.database is None):
            raise UserError("give one of --scores and --database")
        if self.database and not self.root:
            raise UserError(f"--database {self.database} needs --root, the folder where it was unpacked")
        if self.root and not self.database:
            raise UserError(f"--root {self.root} goes with --database, the name of the database that is unpacked there")
        if self.splits_file and (self.n_splits, self.shares) != (N_SPLITS, SHARES):
            raise UserError(
                f"--splits {self.splits_file} names the splits; --n_splits and --shares are for random ones"
            )
        if self.lower_is_better and self.database:
            raise UserError("--lower_is_better is for --scores; for a database it is known")
        if len(self.shares) != 3:
            raise UserError("--shares takes three numbers over 0, such as 70,10,20")
        if self.scale and (len(self.scale) != 2 or self.scale[0] >= self.scale[1]):
            raise UserError("--scale takes two numbers, the worst and the best score, such as 1,5")
        if self.output.suffix != ".skops":
            raise UserError(f"--output {self.output}: the name must end in .skops")

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The kinds of features to use; None: those that are there."""
        return KIND_CHOICES[self.kind] if self.kind else None

    @property
    def splits_file(self) -> Path | None:
        """Where the splits are read from; None where they are official or random."""
        return Path(self.splits) if self.splits not in (None, "official", "random") else None

    @property
    def labels_folder(self) -> Path:
        """Folder of the table of scores."""
        return self.scores.parent if self.scores else self.root or Path()


parse_regressor_options = partial(parse, RegressorOptions, "train_regressor.py")
