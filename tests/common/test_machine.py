"""What is said of the machine."""

import pytest

from common import machine


@pytest.mark.parametrize(
    ("flags", "device", "is_slow"),
    [
        ("avx2 fma", "cpu", True),
        ("avx2 fma", "cuda", False),
        ("avx2 avx512_bf16", "cpu", False),
        ("asimd bf16", "cpu", False),
        (None, "cpu", False),
    ],
)
def test_amp_on_a_processor_without_bfloat16_is_warned_of(tmp_path, monkeypatch, capsys, flags, device, is_slow):
    if flags:
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    machine.warn_of_slow_amp(device)
    assert ("without --amp, it is several times faster" in capsys.readouterr().err) == is_slow
