"""Options of demo_quality_aware_feats.py and demo_content_aware_feats.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.names import ARCHITECTURES, CHECKPOINTS, HEADS, KINDS, LAYER4_MEAN, MAX_PIXELS, POOLINGS
from options.builder import option, parse, part

INPUT_HELP = (
    "files, folders, globs, tables with a column Image_path or image (.csv, .tsv, .xlsx), lists with a path per line "
    "(.txt), or - for a list on standard input"
)


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
    ckpt: Path | None = option(None, "encoder checkpoint in any known format (default: re-iqa_ckpts/{kind}_r50.pth)")
    both: bool = option(False, "compute {other} features too; each file is decoded once")
    other_ckpt: Path | None = option(None, "the other encoder, for --both (default: re-iqa_ckpts/{other}_r50.pth)")
    pooling: str = option(
        LAYER4_MEAN,
        "means of the last stage's maps, as released; means and standard deviations of all four stages' maps; or "
        "logarithms of the differences between neighbouring places of all four stages' maps", choices=POOLINGS,
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
    def checkpoints(self) -> dict[str, Path]:
        """Kind -> encoder."""
        both = {self.kind: self.ckpt, self.other: self.other_ckpt} if self.both else {self.kind: self.ckpt}
        return {kind: path or CHECKPOINTS[kind] for kind, path in both.items()}


def parse_feature_options(kind: str, arguments: Sequence[str] | None = None) -> FeatureOptions:
    """The options of the script for ``kind``."""
    other = next(name for name in KINDS if name != kind)
    return parse(FeatureOptions, f"demo_{kind}_feats.py", arguments, kind=kind, other=other)
