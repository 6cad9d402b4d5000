"""Compiled networks: each keeps its own weights; only frequent shapes are compiled; failures are one sentence."""

import re

import pytest
import torch

from common.errors import UserError
from networks import build_encoder
from networks.compilation import (
    MOST_COMPILED_SHAPES,
    REPEATS_BEFORE_COMPILING,
    CompiledForFrequentShapes,
    require_compiler,
)
from networks.features import FeatureExtractor

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def compiler():
    try:
        require_compiler(CPU)
    except UserError as error:
        pytest.skip(str(error))


def encoder(seed):
    torch.manual_seed(seed)
    network = build_encoder("resnet18").train()
    with torch.no_grad():
        network(torch.rand(4, 3, 48, 48))
    return network.eval()


@pytest.mark.usefixtures("compiler")
def test_two_extractors_of_one_shape_keep_their_own_weights():
    """Weights are constants of the compiled code, which must not be used for another network."""
    images = torch.randint(0, 256, (2, 40, 56, 3), dtype=torch.uint8)
    networks = [encoder(0), encoder(1)]
    compiled = [FeatureExtractor(network, False, CPU, compile=True) for network in networks]
    for _ in range(REPEATS_BEFORE_COMPILING + 2):
        found = [extractor(images) for extractor in compiled]
    for network, features in zip(networks, found, strict=True):
        expected = FeatureExtractor(network, False, CPU)(images)
        assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found[0] - found[1]).abs().max() > 0.01 * found[0].abs().max()


class CountingNetwork(torch.nn.Module):
    """Counts how often Python runs it, which compiled code does not."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.calls = []

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.calls.append(tuple(x.shape))
        return x * self.weight


@pytest.mark.usefixtures("compiler")
def test_only_frequent_shapes_are_compiled_and_only_a_few():
    network = CountingNetwork()
    compiled = CompiledForFrequentShapes(network)
    n_calls = REPEATS_BEFORE_COMPILING + 3
    with torch.inference_mode():
        for size in range(1, MOST_COMPILED_SHAPES + 3):
            for _ in range(n_calls):
                assert torch.equal(compiled(torch.ones(size)), torch.ones(size))
    plain_calls = [network.calls.count((size,)) for size in range(1, MOST_COMPILED_SHAPES + 3)]
    assert plain_calls == [REPEATS_BEFORE_COMPILING] * MOST_COMPILED_SHAPES + [n_calls] * 2


@pytest.mark.parametrize(
    "message, sentence",
    [
        ("InvalidCxxCompiler: None found in (None, 'g++')\n\nand more", "it needs a C++ compiler (g++ or clang++) and"),
        ("CppCompileError: fatal error: omp.h\n\nand more", "here: CppCompileError: fatal error: omp.h; fix that"),
    ],
)
def test_a_failing_compiler_is_named(monkeypatch, message, sentence):
    def failing_compile(function):
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "compile", failing_compile)
    with pytest.raises(UserError, match=re.escape(sentence)) as refusal:
        require_compiler(CPU)
    assert "leave out --compile" in str(refusal.value) and "\n" not in str(refusal.value)
