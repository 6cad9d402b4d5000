"""Tables of opinion scores, the databases that publish them, and weak labels."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Imports ``read_scores`` when it is asked for: options that name a database do not wait for pandas."""
    if name == "read_scores":
        from datasets.opinions.scores import read_scores

        return read_scores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
