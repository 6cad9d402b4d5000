"""Parts that the scripts' command lines share: a parser, and types that check their values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from common import log


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the list of all options, and whose help shows defaults."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, log.printable(f"{self.prog}: {message} (--help lists the options)") + "\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Appends an option's default to its help, as it would be typed; nothing where there is no default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        # By identity: 0 equals False, but 0 is a default worth showing.
        if default is None or default is False or default in ("", [], (), argparse.SUPPRESS):
            return action.help
        if isinstance(default, (tuple, list)) and "%(default)" not in (action.help or ""):
            return f"{action.help} (default: {','.join(map(str, default))})"
        return super()._get_help_string(action)


def number(
    kind: type, at_least: float | None = None, above: float | None = None, at_most: float | None = None
) -> Callable[[str], Any]:
    """An argparse type: a number of ``kind`` (int or float) within the bounds; the error message names them."""
    bounds = [
        text
        for bound, text in (
            (at_least, f"at least {at_least}"),
            (above, f"more than {above}"),
            (at_most, f"at most {at_most}"),
        )
        if bound is not None
    ]
    expected = f"a {'whole ' if kind is int else ''}number" + (", " + " and ".join(bounds) if bounds else "")

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is not {expected}")
        inside = (
            (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
        )
        if not inside:
            raise argparse.ArgumentTypeError(f"{text} is not {expected}")
        return value

    return parse


def numbers(kind: type) -> Callable[[str], tuple]:
    """An argparse type: numbers of ``kind`` separated by commas, as a tuple."""

    def parse(text: str) -> tuple:
        try:
            values = tuple(kind(part) for part in text.split(",") if part)
            if not all(map(math.isfinite, values)):
                raise ValueError
            return values
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 120,160") from None

    return parse
