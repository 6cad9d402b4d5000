"""torch.compile for those who ask for it: whether it works here, and networks for inference at many image sizes."""

from __future__ import annotations

import logging
from collections import Counter

import torch
import torch._inductor.config as inductor_config
from torch import Tensor, nn

from common.errors import UserError


def require_compiler(device: torch.device) -> None:
    """Compiles something small for ``device``; UserError where that fails, as without a C++ compiler."""
    # Of a CUDA build on a machine without a GPU it says so, in a warning.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        torch.compile(torch.nn.functional.silu)(torch.zeros(8, device=device))
    except Exception as error:  # whatever the compiler's many parts raise
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        if "InvalidCxxCompiler" in reason:
            reason = "it needs a C++ compiler (g++ or clang++) and finds none"
        raise UserError(f"torch.compile does not work here: {reason}; mend that, or leave out --compile") from None


REPEATS_BEFORE_COMPILING = 3
MOST_COMPILED_SHAPES = 4
"""Full and half size of two sizes of images. PyTorch itself keeps eight of one kind of network."""


class CompiledForFrequentShapes:
    """An inference network, compiled for the first shapes of input that come more often than a few times.

    Compiling takes seconds for each shape, which the odd size or the last, smaller batch does not repay. Takes and
    returns what ``network`` does, images (N, 3, H, W) to features (N, F), within rounding. The weights become
    constants: ``network`` must not change any more.
    """

    def __init__(self, network: nn.Module):
        self._network = network
        self._compiled = torch.compile(network, dynamic=False)
        self._seen: Counter[torch.Size] = Counter()
        self._shapes: set[torch.Size] = set()

    def __call__(self, images: Tensor) -> Tensor:
        shape = images.shape
        if shape in self._shapes:
            return self._compiled(images)
        if len(self._shapes) == MOST_COMPILED_SHAPES:
            return self._network(images)
        self._seen[shape] += 1
        if self._seen[shape] <= REPEATS_BEFORE_COMPILING:
            return self._network(images)
        self._shapes.add(shape)
        # Freezing brings the weights into the layout that oneDNN's fused convolutions want: most of the gain on a CPU.
        with inductor_config.patch(freezing=images.device.type == "cpu"):
            return self._compiled(images)
