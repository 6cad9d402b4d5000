"""Imports point one way: scripts -> options, learning -> datasets -> common -> networks, which stands alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = tuple(path.stem for path in ROOT.glob("*.py"))
PACKAGES = ("common", "datasets", "learning", "networks", "options", *SCRIPTS)

ALLOWED = {
    "networks": {"networks"},
    "common": {"common", "networks.errors"},
    "options": {"common", "options", "networks.errors", "networks.names", "networks.images.formats",
                "datasets.opinions.databases"},
    "datasets": {"common", "datasets", "networks.errors", "networks.names", "networks.images"},
    "learning/distributed": {"common", "options", "networks.errors", "learning.distributed"},
    "learning/extraction": {"common", "datasets", "networks", "options", "learning.distributed", "learning.extraction"},
    "learning/regression": {"common", "datasets", "networks", "options", "learning.regression", "learning.extraction",
                            "learning.distributed"},
    "learning/contrastive": {"common", "datasets", "networks", "options", "learning.contrastive",
                             "learning.distributed", "learning.regression"},
}  # fmt: skip
"""Folder -> what its modules may import of the project; never a script, nor hubconf."""

COMMANDS_OF_NETWORKS = {"networks/checkpoints.py", "networks/export.py", "networks/onnx_export.py"}
"""These are run by people and need ``common``; a process that loads the scorer by torch.hub does not import them."""

REGRESSION_IN_TRAINING = "learning/contrastive/probe.py"
EXTRACTION_IN_REGRESSION = "learning/regression/model/"


def imports(path):
    """The modules that a file imports, wherever in the file the import stands; relative ones made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_imports(folder):
    """(file, module) for each import of a module of the project in ``folder``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module in imports(path):
            if module.split(".")[0] in PACKAGES and module != "learning":
                yield path.relative_to(ROOT).as_posix(), module


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_package_imports_only_those_below_it(folder):
    found = list(own_imports(folder))
    assert found, f"{folder} has no modules: the test looks in the wrong place"
    outside = {
        (path, module)
        for path, module in found
        if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in ALLOWED[folder])
        and not (path in COMMANDS_OF_NETWORKS and module.startswith("common"))
    }
    assert not outside


def test_only_the_probe_of_a_training_needs_a_regressor():
    users = {path for path, module in own_imports("learning/contrastive") if module.startswith("learning.regression")}
    assert users == {REGRESSION_IN_TRAINING}


def test_only_scoring_computes_features():
    users = {
        path
        for path, module in own_imports("learning/regression")
        if module.startswith(("learning.extraction", "learning.distributed"))
    }
    assert users and all(path.startswith(EXTRACTION_IN_REGRESSION) for path in users)


def test_a_score_needs_neither_fit_nor_evaluation():
    """But for the metrics, where the scores are compared with opinions (``--labels``)."""
    others = {
        module
        for _, module in own_imports("learning/regression/model")
        if module.startswith(("learning.regression.fit", "learning.regression.evaluate"))
    }
    assert others == {"learning.regression.evaluate.metrics", "learning.regression.evaluate.metrics.metrics_of"}


def test_the_check_sees_imports_in_functions(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_imports.ROOT", tmp_path)
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/a.py").write_text(
        "def f():\n    from learning.contrastive import moco\n    from . import b\n"
    )
    assert ("networks/a.py", "learning.contrastive.moco") in list(own_imports("networks"))
    assert ("networks/a.py", "networks.b") in list(own_imports("networks"))
