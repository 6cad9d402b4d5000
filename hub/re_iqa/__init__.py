"""The package ``networks`` under a name of its own, for processes that may have a package ``networks`` already.

``hubconf.py`` puts this folder on the path. Modules are those of ``networks``, which import one another relatively.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "networks")]
