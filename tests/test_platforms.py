"""What Windows lacks, inference and regression do without: fcntl and resource cannot be imported there."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest

import main_contrast
from common.atomic_files import whole_file
from datasets.features.files import FeatureFolder
from datasets.images.lists import FileStamp, ListedImage
from networks.errors import UserError
from options.contrast import parse_contrast_options
from tests.runs import ROOT

WITHOUT_FCNTL = """
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
for name in {modules}:
    importlib.import_module(name)
"""

SCRIPTS = ("demo_quality_aware_feats", "demo_content_aware_feats", "predict_quality")


@pytest.mark.processes
def test_inference_needs_no_fcntl():
    modules = [
        "learning.extraction.extract",
        "learning.regression.model.predict",
        "learning.regression.fit.search",
    ]
    done = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL.format(modules=modules)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.processes
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_neither_fcntl_nor_torch(script):
    """Help is printed at once: torch, torchvision and pandas take seconds to import."""
    code = WITHOUT_FCNTL.format(modules=[]) + (
        f"import runpy\nsys.argv = ['{script}.py', '--help']\n"
        f"try:\n    runpy.run_path('{script}.py', run_name='__main__')\n"
        "except SystemExit as end:\n    status = end.code\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--input" in done.stdout


PACKAGES = ("common", "datasets", "learning", "networks", "options")


def test_text_files_are_utf_8_everywhere():
    """Windows would read and write them in its code page."""
    without = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
                if name in ("read_text", "write_text") and not any(word.arg == "encoding" for word in node.keywords):
                    without.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not without


def test_files_are_synchronised_through_a_descriptor_for_writing(tmp_path, monkeypatch):
    """Windows refuses any other with "Bad file descriptor"."""
    fcntl = pytest.importorskip("fcntl")
    modes = []
    monkeypatch.setattr(os, "fsync", lambda number: modes.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE))
    with whole_file(tmp_path / "a.csv") as temporary:
        temporary.write_text("image,score\n", encoding="utf-8")
    assert modes == [os.O_RDWR] and (tmp_path / "a.csv").read_text(encoding="utf-8") == "image,score\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_folder_of_features_has_no_open_file(tmp_path):
    """Windows could not remove it after its features are in a single file."""
    folder = FeatureFolder(tmp_path, ["quality_aware"])
    stamp = FileStamp(1, 2, 3, "5")
    folder.write(ListedImage("a.png", "a.png"), "a", {"quality_aware": np.ones(4, np.float32)}, stamp)
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.startswith(str(tmp_path))]


def test_training_says_that_it_needs_wsl(monkeypatch):
    arguments = ["--csv_path", "images.csv"]
    parse_contrast_options(arguments)  # imports packages that would look for what only Windows has
    monkeypatch.setattr(sys, "argv", ["main_contrast.py", *arguments])
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UserError, match="training needs Linux or macOS; on Windows run it under WSL"):
        main_contrast.main()
