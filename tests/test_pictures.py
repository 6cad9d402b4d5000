"""The repository holds no photographs of others: each of its pictures is drawn, and its origin is stated beside it."""

import subprocess
from pathlib import Path

import pytest

from networks.images.formats import IMAGE_SUFFIXES

ROOT = Path(__file__).parents[1]


def test_the_only_pictures_are_those_of_the_documentation_and_each_states_its_origin():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    pictures = {path for path in map(Path, listing.stdout.split("\0")) if path.suffix.lower() in IMAGE_SUFFIXES}
    assert {str(path.parent) for path in pictures} == {"docs/images"}
    lines = (ROOT / "docs/images/README.md").read_text().splitlines()
    assert {line.split("`")[1] for line in lines if line.startswith("| `")} == {path.name for path in pictures}
