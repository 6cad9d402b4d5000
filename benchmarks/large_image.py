"""``python -m benchmarks.large_image``: peak memory of scoring a large photograph, and the price of strips.

The first row is the complete ``predict_quality.py`` with the embedded model: the peak of its larger process, the main
or the decoding one. The others compute one photograph of 12 megapixels both ways. ``--megapixels 12`` is quick.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.extraction import calibrated_encoder
from benchmarks.table import Row, print_table
from common.names import POOLINGS
from networks import features
from networks.features import FeatureExtractor

# In a process of its own, whose children are the command and, once that has waited for it, its decoding process.
_PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def photograph(megapixels: float) -> np.ndarray:
    """An enlarged photograph with noise, uint8 (H, W, 3), 10 to 7."""
    width = round((megapixels * 1e6 * 10 / 7) ** 0.5)
    enlarged = np.array(Image.fromarray(load_sample_image("china.jpg")).resize((width, width * 7 // 10)))
    noise = np.random.default_rng(0)
    for top in range(0, len(enlarged), 256):
        rows = enlarged[top : top + 256]
        rows[:] = np.clip(rows + noise.integers(-8, 9, rows.shape, dtype=np.int16), 0, 255)
    return enlarged


def peak_of_the_script(megapixels: float) -> float:
    """GB of the larger process of ``predict_quality.py`` for one photograph."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photograph.jpg")
        Image.fromarray(photograph(megapixels)).save(path, quality=90)
        command = [sys.executable, "-c", _PEAK, "predict_quality.py", "--input", str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1]) * 1024 / 1e9


def both_ways(pooling: str) -> Row:
    """Seconds in strips against seconds at once, and the largest difference."""
    image = torch.from_numpy(photograph(12))[None]
    extractor = FeatureExtractor(calibrated_encoder(), False, torch.device("cpu"), pooling=pooling)
    seconds, found = [], []
    for features.LARGEST_AT_ONCE in (0, image.numel()):
        began = time.process_time()
        found.append(extractor(image))
        seconds.append(time.process_time() - began)
    difference = ((found[0] - found[1]).abs().max() / found[1].abs().max()).item()
    compared = f"at once, {seconds[1]:.1f} s; differs by {difference:.0e}"
    return Row(f"12 megapixels in strips, {pooling}", f"{seconds[0]:.1f} s", compared, f"{seconds[0] / seconds[1]:.2f}")


def rows(megapixels: float = 100) -> Iterator[Row]:
    yield Row(
        f"memory for {megapixels:g} megapixels, the larger process",
        f"{peak_of_the_script(megapixels):.2f} GB",
        aim="at most 3 GB",
    )
    for pooling in POOLINGS:
        yield both_ways(pooling)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_image", description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=100)
    print_table(rows(parser.parse_args().megapixels))


if __name__ == "__main__":
    main()
