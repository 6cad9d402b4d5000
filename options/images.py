"""Options of the scripts that take images: the two demo_*_aware_feats.py, and predict_quality.py."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.names import INTERVAL_LEVELS
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS
from networks.names import ARCHITECTURES, CONTENT_AWARE, EMBEDDED_MODELS, HEADS, KINDS, POOLINGS, QUALITY_AWARE
from options.builder import REQUIRED, option, parse, part

INPUT_HELP = (
    "files, folders, globs, tables with a column Image_path or image (.csv, .tsv, .xlsx), lists with a path per line "
    "(.txt), or - for a list on standard input"
)


TABLE_SUFFIXES, PAGE_SUFFIXES = (".csv", ".xlsx", ".txt"), (".html", ".htm")
"""Of files with scores: tables or lists, and pages to look at."""

AMOUNT = re.compile(r"[1-9]\d*%?", re.ASCII)
"""A number of images, or a percentage of all."""


@dataclass(frozen=True)
class ComputeOptions:
    """How features are computed: options of every script that computes them."""

    arch: str | None = option(
        None, "not needed: each checkpoint tells its architecture", group="computing", choices=ARCHITECTURES
    )
    device: str | None = option(None, "cpu, cuda, cuda:N or N (default: a GPU if there is one)")
    amp: bool = option(False, "compute in bfloat16 or float16: faster, less exact")
    batch_size: int = option(8, "images of equal size per batch", at_least=1)
    max_pixels: int = option(MAX_PIXELS, "refuse larger images as decompression bombs", at_least=1)
    max_side: int | None = option(
        None, "reduce images with a longer side of more pixels than this; 0: none (default: as the regressor was "
        "fitted; for features: none)", at_least=0,
    )  # fmt: skip
    threads: int | None = option(None, "threads that compute on a CPU (default: one for each core)", at_least=1)
    num_workers: int | None = option(
        None, "decoding processes (default: 1 for a CPU, 16 for a GPU)", short="-j", at_least=0
    )


@dataclass(frozen=True)
class FeatureOptions:
    """Computes the {kind} features of images: (1, 4096) float32 each, as .npy.

    ``kind`` is one of KINDS, and ``other`` the other one.
    """

    kind: str
    other: str
    head: str = option("mlp", "the checkpoint's head; features do not need it", choices=HEADS)
    ckpt: Path | None = option(
        None, "encoder checkpoint in any known format (default: re-iqa_ckpts/{kind}_r50.pth if it exists, else the "
        "embedded encoder)",
    )  # fmt: skip
    both: bool = option(False, "compute {other} features too; each file is decoded once")
    other_ckpt: Path | None = option(
        None, "the other encoder, for --both (default: re-iqa_ckpts/{other}_r50.pth if there, else the embedded one)"
    )
    pooling: str | None = option(
        None,
        "means of the last stage's maps, as released; means and standard deviations of all stages' maps; or logarithms "
        "of the differences between neighbouring places of all stages' maps (default: as released; for an embedded "
        "encoder that is not named, the pooling of the embedded models)", choices=POOLINGS,
    )  # fmt: skip
    input: tuple[str, ...] | None = option(
        None, f"{INPUT_HELP} (default: a photograph of scikit-learn)", group="files", nargs="+"
    )
    output_dir: Path = option(Path(), "folder in which feats_{kind}/ is made")
    single_file: Path | None = option(None, "write all features and names to this file", metavar="OUT.npz")
    overwrite: bool = option(False, "compute all features again, also those that exist")
    compute: ComputeOptions = part()

    def __post_init__(self) -> None:
        if self.single_file and self.single_file.suffix != ".npz":
            raise UserError(f"--single_file {self.single_file}: the name must end in .npz")

    @property
    def checkpoints(self) -> dict[str, Path | None]:
        """Kind -> the encoder that the user names, or None."""
        return {self.kind: self.ckpt, self.other: self.other_ckpt} if self.both else {self.kind: self.ckpt}


def parse_feature_options(kind: str, arguments: Sequence[str] | None = None) -> FeatureOptions:
    """The options of the script for ``kind``."""
    other = next(name for name in KINDS if name != kind)
    return parse(FeatureOptions, f"demo_{kind}_feats.py", arguments, kind=kind, other=other)


@dataclass(frozen=True)
class ScoringOptions:
    """Images and a model: an embedded one, or a regressor and its encoders."""

    input: tuple[str, ...] = option(REQUIRED, INPUT_HELP, nargs="+")
    model: str | None = option(
        None, f"embedded model, by its opinions' database (default: {EMBEDDED_MODELS[0]})", choices=EMBEDDED_MODELS
    )
    regressor: Path | None = option(None, "regressor from train_regressor.py, instead of an embedded model")
    quality_ckpt: Path | None = option(
        None, "the regressor's quality-aware encoder, any known format (default: the embedded one if it was fitted "
        "with that, else re-iqa_ckpts/quality_aware_r50.pth)",
    )  # fmt: skip
    content_ckpt: Path | None = option(None, "its content-aware encoder, in the same way")

    def __post_init__(self) -> None:
        if self.model and self.regressor:
            raise UserError(f"--model {self.model} and --regressor {self.regressor} name two models; give one of them")

    @property
    def checkpoints(self) -> dict[str, Path | None]:
        """Kind -> the encoder that the user names, or None."""
        return {QUALITY_AWARE: self.quality_ckpt, CONTENT_AWARE: self.content_ckpt}


@dataclass(frozen=True)
class PredictionOptions(ScoringOptions):
    """Scores images by an embedded model, or by encoders and a regressor fitted by train_regressor.py."""

    interval: float | None = option(
        None, "print a prediction interval beside each score; 0.9: nine of ten opinions lie inside",
        at_least=INTERVAL_LEVELS[0], at_most=INTERVAL_LEVELS[-1], metavar="LEVEL",
    )  # fmt: skip
    explain: bool = option(
        False, "also write the grade (Bad to Excellent), the percentile among the opinions of the fit, and the 90 % "
        "interval to tables",
    )  # fmt: skip
    best: str | None = option(
        None, "list and write only the N best images, best first: 20, or 5% of them", group="selection", metavar="N"
    )
    worst: str | None = option(None, "only the N worst images, worst first: 20, or 5% of them", metavar="N")
    threshold: float | None = option(
        None, "only the images that score below T, worst first; the exit status is 3 if there is one", metavar="T"
    )
    output: tuple[Path, ...] | None = option(
        None, "one or several files: SCORES.csv or .xlsx: a table of all images with their scores; SCORES.txt: a list "
        "of paths; SCORES.html: a page with thumbnails and scores, and with --map also the maps",
        group="files", metavar="SCORES", nargs="+", action="extend",
    )  # fmt: skip
    features: Path | None = option(
        None, "folder of features; missing ones are computed and kept there (default: not kept)"
    )
    map: Path | None = option(
        None, "write a picture of each image here, beside a map of local quality: red lowers its score, blue raises it",
        metavar="OUT_DIR",
    )  # fmt: skip
    labels: Path | None = option(None, "CSV with opinion scores (image and mos), to be compared with the scores")
    lower_is_better: bool = option(False, "the scores of --labels are difference scores: lower is better")
    compute: ComputeOptions = part()

    def __post_init__(self) -> None:
        super().__post_init__()
        for path in self.output or ():
            if path.suffix.lower() not in TABLE_SUFFIXES + PAGE_SUFFIXES:
                raise UserError(f"--output {path}: the name must end in {', '.join(TABLE_SUFFIXES)} or .html")
        if sum(given is not None for given in (self.best, self.worst, self.threshold)) > 1:
            raise UserError("--best, --worst and --threshold are three selections; give one of them")
        for name, given in (("best", self.best), ("worst", self.worst)):
            if given is not None and not AMOUNT.fullmatch(given):
                raise UserError(f"--{name} {given}: give a number of images or a percentage, such as 20 or 5%")

    @property
    def selects(self) -> bool:
        """Whether only some of the images are listed."""
        return (self.best, self.worst, self.threshold) != (None, None, None)

    def n_selected(self, n_images: int) -> int:
        """How many of the images --best or --worst selects; of a percentage, the next whole number."""
        amount = self.best or self.worst or "100%"
        return -(-n_images * int(amount[:-1]) // 100) if amount.endswith("%") else int(amount)


parse_prediction_options = partial(parse, PredictionOptions, "predict_quality.py")
