"""Options of demo_quality_aware_feats.py and demo_content_aware_feats.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets.images import MAX_PIXELS
from options.argument_types import Parser, number

CHECKPOINTS = {
    "quality_aware": Path("re-iqa_ckpts/quality_aware_r50.pth"),
    "content_aware": Path("re-iqa_ckpts/content_aware_r50.pth"),
}


def add_extraction_options(parser: argparse.ArgumentParser) -> None:
    """How features are computed: shared by every script that does."""
    compute = parser.add_argument_group("computing")
    compute.add_argument("--arch", default="resnet50", help="encoder of the checkpoints")
    compute.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")
    compute.add_argument("--amp", action="store_true", help="bfloat16 or float16: faster, within 1e-2")
    compute.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile for image sizes that come often: faster after seconds for each; needs a C++ compiler",
    )
    compute.add_argument("--batch_size", type=number(int, 1), default=8, help="images of equal size at a time")
    compute.add_argument(
        "--max_pixels", type=number(int, 1), default=MAX_PIXELS, help="refuse images with more, as decompression bombs"
    )
    compute.add_argument("-j", "--num_workers", type=number(int, 0), help="decoding processes")


def parse_feature_options(kind: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the options of the script for ``kind``; a mistake ends the program with a sentence and status 2.

    Adds ``checkpoints``, kind -> path, of the features to compute.
    """
    other = next(name for name in CHECKPOINTS if name != kind)
    parser = Parser(
        prog=f"demo_{kind}_feats.py",
        description=f"Computes the {kind.replace('_', '-')} features of images: (1, 4096) float32 each, as .npy.",
    )
    parser.add_argument("--head", choices=("linear", "mlp"), default="mlp", help="the checkpoint's head; not used here")
    parser.add_argument("--ckpt", type=Path, default=CHECKPOINTS[kind], help="the encoder: any format, see the README")
    parser.add_argument(
        "--both", action="store_true", help=f"{other.replace('_', '-')} features as well, each file decoded once"
    )
    parser.add_argument("--other_ckpt", type=Path, default=CHECKPOINTS[other], help="the other encoder, for --both")

    files = parser.add_argument_group("files")
    files.add_argument("--input", help="file, folder, glob or CSV (Image_path or image) (default: an embedded image)")
    files.add_argument(
        "--output_dir", type=Path, default=Path(), help=f"features go to feats_{kind}/ below this folder"
    )
    files.add_argument(
        "--single_file", type=Path, metavar="OUT.npz", help="all features and names in this file instead"
    )
    files.add_argument("--overwrite", action="store_true", help="compute what is there already, too")
    add_extraction_options(parser)
    options = parser.parse_args(arguments)

    if options.single_file and options.single_file.suffix != ".npz":
        parser.error(f"--single_file {options.single_file}: the name must end in .npz")
    options.checkpoints = {kind: options.ckpt}
    if options.both:
        options.checkpoints[other] = options.other_ckpt
    return options
