"""``python -m benchmarks.loader``: samples per second of the data loader, with the training step replaced by nothing.

One and two workers take turns, since a shared machine is faster at times; the best turn of each counts. Then a run of
2,000 samples, during which the private memory of no worker may grow.
"""

import argparse
import itertools
import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.data_pipeline import write_photographs
from benchmarks.table import Row, print_table
from datasets.training.quality_aware import QualityAwareDataset
from learning.contrastive.batches import Position, build_loader, epoch_batches
from learning.distributed.process_group import ProcessContext

BATCH_SIZE = 4
WIDTH, HEIGHT = 640, 480
ENDLESS = 1 << 20


def start_loading(csv_path: Path, n_workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, crops uint8 (4, rows, 6, P, P) and levels, of the loader that training uses."""
    dataset = QualityAwareDataset(csv_path, n_aug=11, n_scale=2, patch_size=160)
    batches = epoch_batches(len(dataset), BATCH_SIZE, ENDLESS, 0, ProcessContext(), Position())
    return iter(build_loader(dataset, batches, n_workers, ProcessContext(), torch.device("cpu")))


def consume(loaded: Iterator[tuple[Tensor, Tensor]], n_samples: int) -> float:
    """Takes that many samples and does nothing with them; samples per second."""
    began = time.perf_counter()
    n_taken = sum(len(crops) for crops, _ in itertools.islice(loaded, n_samples // BATCH_SIZE))
    return n_taken / (time.perf_counter() - began)


def rate_in_turns(csv_path: Path, n_samples: int, n_turns: int = 3) -> tuple[float, float]:
    """Samples per second with one worker and with two."""
    best = {1: 0.0, 2: 0.0}
    for _ in range(n_turns):
        for n_workers in best:
            loaded = start_loading(csv_path, n_workers)
            consume(loaded, 4 * BATCH_SIZE * n_workers)  # skips what the workers prepared while they started
            best[n_workers] = max(best[n_workers], consume(loaded, n_samples * n_workers))
    return best[1], best[2]


def private_mebibytes() -> list[float]:
    """Of each worker process: the memory that it shares with no other process."""
    mebibytes = []
    for worker in multiprocessing.active_children():
        smaps = Path(f"/proc/{worker.pid}/smaps_rollup").read_text()
        mebibytes.append(sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", smaps, re.MULTILINE)) / 1024)
    return mebibytes


def rows(n_samples: int = 96, long_run: int = 2000) -> Iterator[Row]:
    """The loader's rate with two workers against one, then the growth of a worker's memory."""
    with tempfile.TemporaryDirectory() as folder:
        csv_path = write_photographs(Path(folder), WIDTH, HEIGHT)
        one, two = rate_in_turns(csv_path, n_samples)
        yield Row(
            f"loader, 2 workers, {WIDTH}x{HEIGHT}, no step",
            f"{two:.1f} samples/s",
            f"1 worker, {one:.1f}",
            f"{two / one:.2f}",
            "at least 1.8",
        )
        if not long_run or not Path("/proc/self/smaps_rollup").exists():
            return
        loaded = start_loading(csv_path, 2)
        early = long_run // 4
        consume(loaded, early)
        first = max(private_mebibytes())
        consume(loaded, long_run - early)
        last = max(private_mebibytes())
        what = f"memory of a worker after {long_run} samples"
        yield Row(what, f"{last:.0f} MiB", f"after {early}, {first:.0f}", f"{last / first:.2f}", "1, no growth")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=96, help="samples per worker and turn")
    parser.add_argument("--long_run", type=int, default=2000, help="samples over which memory may not grow; 0: none")
    options = parser.parse_args()
    print_table(rows(options.samples, options.long_run))


if __name__ == "__main__":
    main()
