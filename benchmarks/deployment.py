"""``python -m benchmarks.deployment [SCORER.onnx]``: processor time and memory of the embedded scorer on one core.

Each row is a process of its own, which scores noise of one size: without gradients, with them, and in onnxruntime
where the file of ``python -m networks.export`` is named. The time is that of one call after a small one; memory is the
highest of the process, libraries included.
"""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.table import Row, print_table

SIZES = ((1, 384, 512), (4, 384, 512), (1, 768, 1024))
"""Images, height, width."""


def measure(way: str, size: tuple[int, int, int], onnx: str) -> tuple[float, float]:
    """Processor seconds of one call, and GB of memory in this process."""
    torch.set_num_threads(1)
    n, height, width = size
    if way == "onnxruntime":
        onnxruntime = importlib.import_module("onnxruntime")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx, settings)
    else:
        from networks import load

        scorer = load()
    for shape in ((1, 3, 64, 64), (n, 3, height, width)):
        images = torch.rand(shape)
        began = time.process_time()
        if way == "onnxruntime":
            session.run(None, {"image": images.numpy()})
        elif way == "score":
            with torch.inference_mode():
                scorer(images)
        else:
            scorer(images.requires_grad_()).sum().backward()
        seconds = time.process_time() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def rows(onnx: str) -> Iterator[Row]:
    for way in ("score", "gradient", *(["onnxruntime"] if onnx else [])):
        for n, height, width in SIZES:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, memory = pool.apply(measure, (way, (n, height, width), onnx))
            yield Row(f"{way}, {n} of {width}x{height}", f"{seconds:.2f} s", f"{memory:.2f} GB")


if __name__ == "__main__":
    print_table(rows(sys.argv[1] if len(sys.argv) > 1 else ""))
