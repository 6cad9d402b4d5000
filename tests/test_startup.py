"""What a command imports before its work: help and one score come at once, whatever packages the rest needs."""

import importlib
import json
import subprocess
import sys
import threading

import pytest
from PIL import Image

from tests.images import photograph

COMMANDS = (
    "main_contrast.py", "demo_quality_aware_feats.py", "demo_content_aware_feats.py", "predict_quality.py",
    "train_regressor.py", "datasets.training_csv", "datasets.distortions",
    "datasets.weak_labels", "networks", "networks.checkpoints", "networks.export",
    "learning.regression.compare", "learning.regression.across", "learning.regression.dlp_tests",
)  # fmt: skip
"""Scripts, and modules that are run by ``python -m``."""

RUN = """
import json, runpy, sys
found = {}
for command, arguments in json.loads(sys.argv[1]):
    before = set(sys.modules)
    sys.argv = [command, *arguments]
    try:
        run = runpy.run_path if command.endswith(".py") else runpy.run_module
        run(command, run_name="__main__")
    except SystemExit as end:
        status = end.code
    roots = {name for name in set(sys.modules) - before if name.count(".") == 0 or name == "torch._dynamo"}
    found[command] = [status, sorted(roots)]
print(json.dumps(found), file=sys.stderr)
"""


def imported_by(commands):
    """Command -> (its exit status, the packages that it imported), all run in one process."""
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.processes
def test_help_imports_no_large_package():
    found = imported_by([(command, ["--help"]) for command in COMMANDS])
    assert len(found) == len(COMMANDS)
    for command, (status, packages) in found.items():
        large = {"torch", "torchvision", "pandas", "sklearn", "scipy", "skops", "matplotlib"} & set(packages)
        assert not status and not large, command


@pytest.mark.processes
def test_one_score_imports_torch_but_neither_its_compiler_nor_the_packages_of_a_fit(tmp_path):
    Image.fromarray(photograph(48, 64)).save(tmp_path / "a.png")
    status, packages = imported_by([("predict_quality.py", ["--input", str(tmp_path / "a.png"), "-j", "0"])])[
        "predict_quality.py"
    ]
    others = {"torch._dynamo", "torchvision", "pandas", "sklearn", "scipy", "skops", "matplotlib", "tensorboard"}
    assert status == 0 and "torch" in packages and not others & set(packages)


@pytest.mark.parametrize("script", [command[:-3] for command in COMMANDS if command.endswith(".py")])
def test_scripts_can_be_called_as_functions(script, monkeypatch, capsys):
    """From a notebook or another program, several times in one process, and in any thread."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    statuses = []

    def call():
        with pytest.raises(SystemExit) as end:
            importlib.import_module(script).main()
        statuses.append(end.value.code)

    call()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert statuses == [0, 0] and "usage" in capsys.readouterr().out
