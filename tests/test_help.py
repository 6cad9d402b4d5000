"""The help of each script appears at once: it imports none of the packages that take seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = {"torch", "torchvision", "pandas", "scipy", "sklearn", "skops", "matplotlib", "tensorboard"}
SHOW_HELP = """
import runpy, sys
script, slow = sys.argv[1], set(sys.argv[2:])
sys.argv = [script, "--help"]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    print("imported:", *(slow & set(sys.modules)))
"""


@pytest.mark.parametrize("script", sorted(path.name for path in ROOT.glob("*.py") if path.name != "hubconf.py"))
def test_help_imports_nothing_slow(script):
    done = subprocess.run([sys.executable, "-c", SHOW_HELP, script, *SLOW], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"usage: {script}" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["imported:"]


def test_a_score_needs_neither_scikit_learn_nor_pandas(tmp_path):
    """From the embedded model, which is what a first user waits for."""
    from PIL import Image

    from tests.images import photograph

    Image.fromarray(photograph(48, 64)).save(tmp_path / "photo.png")
    code = f"""
import contextlib, sys
sys.argv = ["predict_quality.py", "--input", {str(tmp_path / "photo.png")!r}, "-j", "0"]
with contextlib.suppress(SystemExit):
    import predict_quality
    predict_quality.main()
print("imported:", *({SLOW!r} - {{"torch"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "1 images scored, 0 failed" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["imported:"]
