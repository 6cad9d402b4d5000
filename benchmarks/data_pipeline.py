"""``python -m benchmarks.data_pipeline``: seconds per training sample on one core, and the cost of each distortion.

A sample is read from a JPEG file, distorted 11 times and cropped at two scales (n_aug 11, n_scale 2, patch 160). The
released code's seconds were measured on one core of a 2-core AMD EPYC machine, the one of the README's table; the
ratio is meant for that machine. Then the views of the content-aware encoder, against the same transforms on PIL images
through torchvision's first interface, in the same run.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image, load_sample_images
from torchvision import transforms as v1

from benchmarks.table import Row, print_table
from common.names import PATH_COLUMN
from common.process import use_one_core
from datasets.distortions import DISTORTIONS, N_LEVELS, distort
from datasets.training.content_aware import ContentAwareDataset
from datasets.training.image_lists import read_training_csv
from datasets.training.quality_aware import QualityAwareDataset
from networks.encoder import IMAGENET_MEAN, IMAGENET_STD

RELEASED_SECONDS = {(512, 384): 0.31, (640, 480): 0.57, (800, 600): 1.06, (1024, 768): 1.32}
AIMED_SECONDS = {(512, 384): 0.018, (640, 480): 0.028, (1024, 768): 0.033}


def write_photographs(folder: Path, width: int, height: int, n_images: int = 12) -> Path:
    """JPEG files of that size, cut and enlarged from scikit-learn's photographs, and a CSV of them."""
    rng = np.random.default_rng(0)
    photographs = load_sample_images().images
    rows = [PATH_COLUMN]
    for index in range(n_images):
        photograph = Image.fromarray(photographs[index % len(photographs)])
        left, top = int(rng.integers(0, photograph.width // 3)), int(rng.integers(0, photograph.height // 3))
        path = folder / f"{width}x{height}_{index}.jpg"
        box = (left, top, left + photograph.width * 2 // 3, top + photograph.height * 2 // 3)
        photograph.resize((width, height), Image.Resampling.LANCZOS, box=box).save(path, quality=92)
        rows.append(str(path))
    csv_path = folder / f"{width}x{height}.csv"
    csv_path.write_text("\n".join(rows) + "\n")
    return csv_path


def seconds_per_sample(csv_path: Path, n_samples: int, n_passes: int = 10) -> float:
    """Processor seconds, mean over ``n_samples`` samples of different images, distortions and places.

    A shared machine is slower at times: of each sample the fastest of ``n_passes`` passes over all of them counts.
    """
    dataset = QualityAwareDataset(csv_path, n_aug=11, n_scale=2, patch_size=160)
    for index in range(2):
        dataset[0, index]
    seconds = np.empty((n_passes, n_samples))
    for i_pass in range(n_passes):
        for number in range(n_samples):
            epoch, index = divmod(number, len(dataset))
            began = time.process_time()
            dataset[1 + epoch, index]
            seconds[i_pass, number] = time.process_time() - began
    return float(seconds.min(axis=0).mean())


def milliseconds_per_distortion(image: np.ndarray) -> dict[str, list[float]]:
    """The fastest of five runs, per kind and level, on the whole image."""
    rng = np.random.default_rng(0)
    costs: dict[str, list[float]] = {}
    for name in DISTORTIONS:
        costs[name] = []
        for level in range(N_LEVELS):
            times = []
            for _ in range(5):
                began = time.process_time()
                distort(image, name, level, rng)
                times.append(time.process_time() - began)
            costs[name].append(1000 * min(times))
    return costs


def views_per_second(csv_path: Path, n_samples: int) -> tuple[float, float]:
    """Views of 224 pixels per second from JPEG files on one core: torchvision v1 on PIL images, and ours."""
    images = read_training_csv(csv_path)
    plain_view = v1.Compose(
        [
            v1.RandomResizedCrop(224, scale=(0.2, 1)),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v1.RandomGrayscale(0.2),
            v1.RandomApply([v1.GaussianBlur(23, (0.1, 2.0))], p=0.5),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    dataset = ContentAwareDataset(images)

    def plain(number: int) -> torch.Tensor:
        with Image.open(images.paths[number % len(dataset)]) as file:
            image = file.convert("RGB")
        return torch.cat([plain_view(image), plain_view(image)])

    def ours(number: int) -> torch.Tensor:
        return dataset[divmod(number, len(dataset))]

    rates = []
    for make_views in (plain, ours):
        make_views(0)
        began = time.perf_counter()
        for number in range(n_samples):
            make_views(number)
        rates.append(2 * n_samples / (time.perf_counter() - began))
    return rates[0], rates[1]


def rows(n_samples: int = 24) -> Iterator[Row]:
    """Samples, then content-aware views, at each size."""
    use_one_core()
    with tempfile.TemporaryDirectory() as folder:
        csv_paths = {size: write_photographs(Path(folder), *size) for size in RELEASED_SECONDS}
        for (width, height), released in RELEASED_SECONDS.items():
            seconds = seconds_per_sample(csv_paths[width, height], n_samples)
            aim = AIMED_SECONDS.get((width, height))
            yield Row(
                f"sample of {width}x{height}, one core",
                f"{seconds:.4f} s",
                f"released code, {released} s",
                f"{released / seconds:.1f}",
                f"at most {aim} s" if aim else "",
            )
        for width, height in RELEASED_SECONDS:
            plain, ours = views_per_second(csv_paths[width, height], 4 * n_samples)
            yield Row(
                f"content views of {width}x{height}, one core",
                f"{ours:.0f} per second",
                f"torchvision v1 on PIL, {plain:.0f}",
                f"{ours / plain:.2f}",
                "at least 2",
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=48, help="samples per image size")
    options = parser.parse_args()
    print_table(rows(options.samples))

    image = np.array(Image.fromarray(load_sample_image("china.jpg")).resize((640, 480)))
    costs = milliseconds_per_distortion(image)
    print("\nmilliseconds of a distortion on a whole image of 640x480, at levels 0 to 4")
    for name, by_level in sorted(costs.items(), key=lambda item: -sum(item[1])):
        print(f"{name:22s}" + "".join(f"{cost:8.2f}" for cost in by_level))
    print(f"{'mean of all':22s}{np.mean(list(costs.values())):8.2f}")


if __name__ == "__main__":
    main()
