"""What Windows lacks, inference and regression do without: fcntl and resource cannot be imported there."""

import subprocess
import sys

import pytest

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
    modules = ["learning.extraction.feature_script", "learning.regression.predict", "learning.regression.search"]
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
