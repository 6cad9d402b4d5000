"""``pip install .``: the package re_iqa with the embedded models, beside packages that are called as those here."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

from networks import load
from networks.names import VERSION
from tests.images import photograph

ROOT = Path(__file__).parents[1]
OTHERS = ("networks", "datasets", "common", "learning", "options")

USE = """
import importlib, pkgutil, sys
import common, datasets, networks
import re_iqa

print(re_iqa.__version__, re_iqa.load().score("photo.png"))
for module in pkgutil.walk_packages(re_iqa.__path__, "re_iqa."):
    importlib.import_module(module.name)
assert all(package.MINE for package in (common, datasets, networks))
assert not [name for name, module in sys.modules.items() if sys.argv[1] in (getattr(module, "__file__", None) or "")]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages: re_iqa from a wheel, and others under the names of ours."""
    folder = tmp_path_factory.mktemp("package")
    source, site = folder / "source", folder / "site"
    for name in ("networks", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"re_iqa-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in site.iterdir()} == {"re_iqa", f"re_iqa-{VERSION}.dist-info"}
    for name in OTHERS:
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("MINE = True")
    return site


def python(site, *arguments):
    """Runs Python with the packages of ``site``, in a folder without the project."""
    folder = site.parent / "work"
    folder.mkdir(exist_ok=True)
    Image.fromarray(photograph(48, 64)).save(folder / "photo.png")
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(site)}, capture_output=True, text=True)


@pytest.mark.processes
def test_the_package_scores_images_beside_packages_of_the_same_names(site):
    pixels = torch.from_numpy(photograph(48, 64)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = load()(pixels).item()
    done = python(site, "-c", USE, f"{ROOT}/networks")
    assert done.returncode == 0, done.stderr
    version, score = done.stdout.split()
    assert version == VERSION and float(score) == pytest.approx(expected, abs=1e-3)

    done = python(site, "-m", "re_iqa", "photo.png", "missing.png")
    assert done.returncode == 1 and done.stderr == "image missing.png does not exist\n"
    line, about = done.stdout.splitlines()
    assert re.fullmatch(rf" *{expected:.2f}\d\d  photo.png", line)
    assert about.startswith(f"embedded model clive, version {VERSION}: opinions of the fit go from 4.344 to 92.43")


def test_the_version_is_one():
    assert f"\n## [{VERSION}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_requirement_has_a_version_that_passed():
    lines = [line for path in ROOT.glob("requirements*.txt") for line in path.read_text().splitlines()]
    wanted = {one.name: one for one in map(Requirement, (line for line in lines if line and line[0] not in "#-"))}
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert {pin.name for pin in pins} == set(wanted)
    for pin in pins:
        (version,) = pin.specifier
        assert version.operator == "==" and version.version in wanted[pin.name].specifier
