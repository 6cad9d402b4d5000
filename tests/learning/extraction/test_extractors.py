"""The hint at faster options: for a long list, on a processor that gains by them, if neither was given."""

from dataclasses import replace

import pytest
import torch

from common import machine
from datasets.image_lists import ListedImage
from learning.extraction import extractors
from learning.extraction.extract import Extraction
from learning.extraction.extractors import LONG_LIST, faster_options
from networks.encoder import build_encoder
from networks.features import FeatureExtractor
from options.features import ComputeOptions


@pytest.fixture
def with_amx(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx512f amx_bf16 avx512_fp16 amx_tile amx_int8\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")


def test_a_long_list_on_a_processor_with_amx_gets_a_hint(with_amx):
    cpu, plain = torch.device("cpu"), ComputeOptions()
    assert "--amp --compile is several times faster" in faster_options(LONG_LIST, plain, cpu)
    assert not faster_options(LONG_LIST - 1, plain, cpu)
    assert not faster_options(LONG_LIST, replace(plain, amp=True), cpu)
    assert not faster_options(LONG_LIST, replace(plain, compile=True), cpu)
    assert not faster_options(LONG_LIST, plain, torch.device("cuda"))


def test_a_pass_over_many_images_prints_the_hint_once(with_amx, monkeypatch, capsys):
    monkeypatch.setattr(extractors, "LONG_LIST", 2)
    torch.manual_seed(0)
    encoder = build_encoder("resnet18")
    both = {kind: FeatureExtractor(encoder, False, torch.device("cpu")) for kind in ("quality_aware", "content_aware")}
    missing = [ListedImage(f"{name}.png", f"{name}.png") for name in "ab"]
    assert not list(Extraction(missing, both, ComputeOptions(num_workers=0)))
    assert capsys.readouterr().out.count("hint: this processor has AMX, and 2 images are many") == 1


@pytest.mark.parametrize("content", ["flags : fpu avx512_bf16 amx_tile\n", "", None])
def test_other_processors_get_none(tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert not faster_options(LONG_LIST, ComputeOptions(), torch.device("cpu"))
