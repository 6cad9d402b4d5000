"""The hint to a faster way of computing features: only where it is one, and only for a long list."""

from types import SimpleNamespace

import pytest
import torch

from common import machine
from learning.extraction.extract import LONG_LIST, faster_way


@pytest.mark.parametrize(
    ("n_images", "amx", "device", "amp", "hinted"),
    [
        (LONG_LIST, True, "cpu", False, True),
        (LONG_LIST, True, "cpu", True, False),
        (LONG_LIST - 1, True, "cpu", False, False),
        (LONG_LIST, False, "cpu", False, False),
        (LONG_LIST, True, "cuda", False, False),
    ],
)
def test_the_faster_way_is_named(monkeypatch, n_images, amx, device, amp, hinted):
    monkeypatch.setattr(machine, "has_amx", lambda: amx)
    extractors = {"quality_aware": SimpleNamespace(device=torch.device(device))}
    hint = faster_way(n_images, extractors, SimpleNamespace(amp=amp))
    assert ("--amp" in hint) == hinted
