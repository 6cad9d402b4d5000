"""torch.compile on request: a check that it works here, and compiled inference for many image sizes."""

from __future__ import annotations

import logging
from collections import Counter

import torch
from torch import Tensor, nn

from common.errors import UserError


def require_compiler(device: torch.device) -> None:
    """Compiles a small function for ``device``; UserError where that fails, for example without a C++ compiler."""
    # A CUDA build warns on a machine without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        torch.compile(torch.nn.functional.silu)(torch.zeros(8, device=device))
    except Exception as error:  # the compiler's parts raise exceptions of any type
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        if "InvalidCxxCompiler" in reason:
            reason = "it needs a C++ compiler (g++ or clang++) and finds none"
        raise UserError(f"torch.compile does not work here: {reason}; fix that, or leave out --compile") from None


REPEATS_BEFORE_COMPILING = 3
MOST_COMPILED_SHAPES = 4
"""Full and half size of two image sizes. PyTorch itself keeps eight shapes of one class of network."""


class CompiledForFrequentShapes:
    """An inference network that is compiled for the first few frequent input shapes.

    Compiling takes seconds for each shape: too long for a rare image size or the last, smaller batch. The result equals
    that of ``network``, images (N, 3, H, W) to features (N, F), within rounding. Weights are compiled in as constants:
    ``network`` must not change afterwards.
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
        # Imported here: it takes seconds, and few runs compile.
        import torch._inductor.config as inductor_config

        # Freezing stores the weights in the layout of oneDNN's fused convolutions: most of the gain on a CPU.
        with inductor_config.patch(freezing=images.device.type == "cpu"):
            return self._compiled(images)
