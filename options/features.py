"""Options of demo_quality_aware_feats.py and demo_content_aware_feats.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.names import ARCHITECTURES, CONTENT_AWARE, HEADS, KINDS, LAYER4_MEAN, POOLINGS, QUALITY_AWARE
from datasets.images import MAX_PIXELS
from options.argument_types import Parser, number

CHECKPOINTS = {kind: Path(f"re-iqa_ckpts/{kind}_r50.pth") for kind in KINDS}
"""Where the released checkpoints are kept, by the kind of their features."""

INPUT_HELP = (
    "files, folders, globs, tables with a column Image_path or image (.csv, .tsv, .xlsx), lists with a path per line "
    "(.txt), or - for a list on standard input"
)


@dataclass(frozen=True)
class ComputeOptions:
    """How features are computed; each field is the option of its name."""

    device: str | None = None
    amp: bool = False
    compile: bool = False
    batch_size: int = 8
    max_pixels: int = MAX_PIXELS
    num_workers: int | None = None


@dataclass(frozen=True)
class FeatureOptions:
    """What a feature script computes and where it writes to; ``checkpoints``, kind -> path, are the encoders."""

    checkpoints: dict[str, Path]
    input: tuple[str, ...] | None
    output_dir: Path
    single_file: Path | None
    overwrite: bool
    pooling: str
    compute: ComputeOptions


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a regressor and its encoders, which every script that scores images has."""
    parser.add_argument(
        "--regressor",
        type=Path,
        help="regressor from train_regressor.py (default: regressor.skops if it exists, else the embedded model)",
    )
    parser.add_argument(
        "--quality_ckpt", type=Path, default=CHECKPOINTS[QUALITY_AWARE], help="quality-aware encoder, any known format"
    )
    parser.add_argument(
        "--content_ckpt", type=Path, default=CHECKPOINTS[CONTENT_AWARE], help="content-aware encoder, any known format"
    )


def model_checkpoints(namespace: argparse.Namespace) -> dict[str, Path]:
    """Kind -> checkpoint, from a parser that ``add_model_options`` has extended."""
    return {QUALITY_AWARE: namespace.quality_ckpt, CONTENT_AWARE: namespace.content_ckpt}


def add_compute_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``ComputeOptions``, which every script that computes features has."""
    compute = parser.add_argument_group("computing")
    compute.add_argument("--arch", choices=ARCHITECTURES, help="not needed: each checkpoint tells its architecture")
    compute.add_argument("--device", help="cpu, cuda, cuda:N or N (default: a GPU if there is one)")
    compute.add_argument("--amp", action="store_true", help="compute in bfloat16 or float16: faster, less exact")
    compute.add_argument(
        "--compile",
        action="store_true",
        help="use torch.compile for image sizes that come often: faster, after some seconds for each size; needs a "
        "C++ compiler",
    )
    compute.add_argument("--batch_size", type=number(int, 1), default=8, help="images of equal size per batch")
    compute.add_argument(
        "--max_pixels", type=number(int, 1), default=MAX_PIXELS, help="refuse larger images as decompression bombs"
    )
    compute.add_argument(
        "-j", "--num_workers", type=number(int, 0), help="decoding processes (default: 1 for a CPU, 16 for a GPU)"
    )


def compute_options(namespace: argparse.Namespace) -> ComputeOptions:
    """The typed options of a parser that ``add_compute_options`` has extended."""
    return ComputeOptions(
        device=namespace.device,
        amp=namespace.amp,
        compile=namespace.compile,
        batch_size=namespace.batch_size,
        max_pixels=namespace.max_pixels,
        num_workers=namespace.num_workers,
    )


def parse_feature_options(kind: str, arguments: Sequence[str] | None = None) -> FeatureOptions:
    """Parses the options of the script for ``kind``; a mistake ends the program with a sentence and status 2."""
    other = next(name for name in KINDS if name != kind)
    parser = Parser(
        prog=f"demo_{kind}_feats.py",
        description=f"Computes the {kind.replace('_', '-')} features of images: (1, 4096) float32 each, as .npy.",
    )
    parser.add_argument("--head", choices=HEADS, default="mlp", help="the checkpoint's head; features do not need it")
    parser.add_argument("--ckpt", type=Path, default=CHECKPOINTS[kind], help="encoder checkpoint in any known format")
    parser.add_argument(
        "--both", action="store_true", help=f"compute {other.replace('_', '-')} features too; each file is decoded once"
    )
    parser.add_argument("--other_ckpt", type=Path, default=CHECKPOINTS[other], help="the other encoder, for --both")

    parser.add_argument(
        "--pooling",
        choices=POOLINGS,
        default=LAYER4_MEAN,
        help="means of the last stage's maps, as released; means and standard deviations of all four stages' maps; or "
        "logarithms of the differences between neighbouring places of all four stages' maps",
    )

    files = parser.add_argument_group("files")
    files.add_argument("--input", nargs="+", help=f"{INPUT_HELP} (default: an embedded image)")
    files.add_argument("--output_dir", type=Path, default=Path(), help=f"folder in which feats_{kind}/ is made")
    files.add_argument("--single_file", type=Path, metavar="OUT.npz", help="write all features and names to this file")
    files.add_argument("--overwrite", action="store_true", help="compute all features again, also those that exist")
    add_compute_options(parser)
    namespace = parser.parse_args(arguments)

    single_file: Path | None = namespace.single_file
    if single_file and single_file.suffix != ".npz":
        parser.error(f"--single_file {single_file}: the name must end in .npz")
    checkpoints = {kind: namespace.ckpt}
    if namespace.both:
        checkpoints[other] = namespace.other_ckpt
    return FeatureOptions(
        checkpoints=checkpoints,
        input=tuple(namespace.input) if namespace.input else None,
        output_dir=namespace.output_dir,
        single_file=single_file,
        overwrite=namespace.overwrite,
        pooling=namespace.pooling,
        compute=compute_options(namespace),
    )
