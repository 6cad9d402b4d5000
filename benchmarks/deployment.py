"""``python -m benchmarks.deployment [SCORER.onnx]``: processor time and memory of the embedded scorer on one core.

Each row is a process of its own, which scores noise of one size: without gradients, with them, and in onnxruntime
where the file of ``python -m networks.export`` is named. Memory is the highest of the process, libraries included.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.table import Row, print_table

SIZES = ((1, 384, 512), (8, 384, 512), (1, 768, 1024), (1, 3000, 4000))
"""Images, height, width."""


def measure(way: str, size: tuple[int, int, int], onnx: str) -> tuple[float, float]:
    """Processor seconds of one call, the faster of two, and GB of memory in this process."""
    torch.set_num_threads(1)
    n, height, width = size
    images = torch.rand(n, 3, height, width)
    if way == "onnxruntime":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx, settings)
        print(json.dumps(session.get_modelmeta().custom_metadata_map), file=sys.stderr)
    else:
        from networks import load

        scorer = load()
    times = []
    for _ in range(2 if n * height * width < 4e6 else 1):
        began = time.process_time()
        if way == "onnxruntime":
            session.run(None, {"image": images.numpy()})
        elif way == "score":
            with torch.inference_mode():
                scorer(images)
        else:
            scorer(images.requires_grad_()).sum().backward()
        times.append(time.process_time() - began)
    return min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def rows(onnx: str) -> Iterator[Row]:
    for way in ("score", "gradient", *(["onnxruntime"] if onnx else [])):
        for n, height, width in SIZES[: 3 if way == "gradient" else 4]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, memory = pool.apply(measure, (way, (n, height, width), onnx))
            yield Row(f"{way}, {n} of {width}x{height}", f"{seconds:.2f} s", f"{memory:.2f} GB", "", "")


if __name__ == "__main__":
    print_table(rows(sys.argv[1] if len(sys.argv) > 1 else ""))
