"""``python -m benchmarks.extraction``: features per second, against a plain network run image by image.

Plain is what a first script would do: decode, resize, torchvision's ResNet-50 in float32, one image after the other.
Ours is the whole of ``demo_quality_aware_feats.py`` from file to file. Both see the same JPEG files and weights.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.data_pipeline import write_photographs
from benchmarks.table import Row, print_table
from datasets.features.files import FeatureFolder
from datasets.images.lists import list_images
from datasets.images.resampling import half_size_exactly
from learning.distributed.environment import ProcessContext
from learning.extraction.extract import extract_features
from networks import build_encoder
from networks.features import FeatureExtractor
from networks.images.reading import read_image
from options.images import ComputeOptions

MOST_PLAIN_IMAGES = 100
SIZES = {(512, 384): 64, (1024, 768): 24}
"""And how many images of each: enough for the start of a worker not to count."""


class Kind(NamedTuple):
    """How features are computed, and what is aimed at: speed against the plain network, and the largest difference."""

    name: str
    amp: bool
    aim: str
    aim_of_difference: str


KINDS = (
    Kind("float32", False, "at least 1.8", "at most 1e-5"),
    Kind("--amp", True, "at least 3", "at most 1e-2"),
)


def calibrated_encoder() -> torch.nn.Module:
    """A ResNet-50 of random weights whose BatchNorm statistics are those of some noise, as after training."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet50").train()
    with torch.no_grad():
        for _ in range(3):
            encoder(torch.rand(4, 3, 96, 96))
    return encoder.eval()


def plain_features(paths: list[str], encoder: torch.nn.Module, device: torch.device) -> tuple[np.ndarray, float]:
    """Features (n, 4096) and seconds per image."""
    encoder = encoder.to(device)
    began = time.perf_counter()
    rows = []
    with torch.no_grad(), torch.backends.cudnn.flags(None, None, None, None, allow_tf32=False):
        for path in paths:
            full = read_image(path)
            scales = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in (full, half_size_exactly(full))]
            rows.append(torch.cat([encoder(image[None].to(device).contiguous()) for image in scales], dim=1).cpu())
    return torch.cat(rows).numpy(), (time.perf_counter() - began) / len(paths)


def our_features(
    folder: Path, csv_path: Path, encoder: torch.nn.Module, device: torch.device, kind: Kind, batch_size: int
) -> tuple[np.ndarray, float, float]:
    """Features (n, 4096), seconds per image, and the share of time waiting for decoded images."""
    images, feature_folder = list_images(csv_path).images, FeatureFolder(folder, ["quality_aware"])
    extractors = {"quality_aware": FeatureExtractor(encoder, False, device, kind.amp)}
    compute = ComputeOptions(batch_size=batch_size, num_workers=1)
    extract_features(images[:batch_size], extractors, feature_folder, ProcessContext(), compute, overwrite=True)
    compute = ComputeOptions(batch_size=batch_size)
    summary = extract_features(images, extractors, feature_folder, ProcessContext(), compute, overwrite=True)
    names = feature_folder.names(images)
    features = feature_folder.read([names[image.name] for image in images])
    return features, summary.seconds / len(images), summary.waited / summary.seconds


def rows(n_images: int | None = None, batch_size: int = 4, device_name: str = "cpu") -> Iterator[Row]:
    """Each size in each of ``KINDS``; ``n_images`` of each size, None for those of ``SIZES``."""
    device = torch.device(device_name)
    encoder = calibrated_encoder()
    with tempfile.TemporaryDirectory() as folder:
        for (width, height), usual in SIZES.items():
            csv_path = write_photographs(Path(folder), width, height, n_images or usual)
            paths = [image.path for image in list_images(csv_path).images][:MOST_PLAIN_IMAGES]
            plain_features(paths[:2], encoder, device)
            expected, plain_seconds = plain_features(paths, encoder, device)
            for kind in KINDS:
                features, seconds, waiting = our_features(
                    Path(folder, "features"), csv_path, encoder, device, kind, batch_size
                )
                difference = np.abs(features[: len(expected)] - expected).max() / np.abs(expected).max()
                yield Row(
                    f"features of {width}x{height}, {kind.name}",
                    f"{1 / seconds:.2f} images/s",
                    f"plain float32, {1 / plain_seconds:.2f}",
                    f"{plain_seconds / seconds:.2f}",
                    kind.aim,
                )
                yield Row(
                    "  largest difference, of the largest feature", f"{difference:.1e}", aim=kind.aim_of_difference
                )
                yield Row("  share of time waiting for images", f"{waiting:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, help="images per size")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print_table(rows(options.images, options.batch_size, options.device))


if __name__ == "__main__":
    main()
