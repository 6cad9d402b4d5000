"""From a frozen dataclass to a command line and back. An option is a field, and ``option`` declares all about it.

Modules with options do without ``from __future__ import annotations``: types are read from the annotations.
"""

import argparse
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from types import UnionType
from typing import Any, NamedTuple, NoReturn, TypeVar, get_args, get_origin

from common import log
from networks.errors import UserError

Options = TypeVar("Options")

REQUIRED = MISSING
"""The default of an option that must be given."""


class Computed(NamedTuple):
    """A default that follows from options declared before, or from the machine. ``text`` describes it in --help."""

    text: str
    of: Callable[[argparse.Namespace], Any]


def option(
    default: Any, help: str, *, flag: str = "", short: str = "", group: str = "",
    at_least: float | None = None, above: float | None = None, at_most: float | None = None,
    on_resume: str = "", in_name: str = "", **keywords: Any,
) -> Any:  # fmt: skip
    """A field of a dataclass of options. Its annotation is the type of the option's value; a tuple holds several.

    The field NAME, or given_NAME, is the option --NAME, unless ``flag`` spells it. ``group`` opens a group of --help,
    to which the following fields belong too. ``at_least``, ``above`` and ``at_most`` are bounds of numbers.
    ``on_resume`` is what a new value means when a training is resumed. ``in_name`` is the format of a value in the name
    of a run, where it is not the default. ``keywords`` are argparse's.
    """
    about = {"default": default, "help": help, "flag": flag, "short": short, "group": group, "keywords": keywords}
    about |= {"bounds": (at_least, above, at_most), "on_resume": on_resume, "in_name": in_name}
    return field(default=MISSING if isinstance(default, Computed) else default, metadata=about, kw_only=True)


def part(*only: str) -> Any:
    """A field that is itself a dataclass of options; with names, only those are options of this command."""
    return field(metadata={"only": only}, kw_only=True)


def option_name(declared: Field) -> str:
    """The name of an option, and of the value in use, where what the command line gives can be replaced."""
    return declared.name.removeprefix("given_")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, log.printable(f"{self.prog}: {message} (--help lists the options)") + "\n")


def parse(options_class: type[Options], prog: str, arguments: Sequence[str] | None = None, **given: str) -> Options:
    """The options of a command line (None: this process's). A mistake ends the program with a sentence and status 2.

    ``options_class`` begins its docstring with what the program does. Its ``__post_init__`` raises UserError where
    options contradict each other. ``given`` are the fields that are no options; texts can name them, as in {kind}.
    """
    description = (options_class.__doc__ or "").partition("\n\n")[0].format(**given)
    parser = Parser(prog=prog, description=description)
    _add_options(parser, options_class, given)
    namespace = parser.parse_args(arguments, argparse.Namespace(**given))
    try:
        return _collect(options_class, namespace)
    except UserError as mistake:
        parser.error(mistake.sentence)


def _add_options(parser: Parser, options_class: Any, given: dict[str, str], only: Sequence[str] = ()) -> None:
    group: Any = parser
    for declared in fields(options_class):
        about = declared.metadata
        if is_dataclass(declared.type):
            _add_options(parser, declared.type, given, about["only"])
        if about.get("group"):
            group = parser.add_argument_group(about["group"])
        if "help" not in about or (only and declared.name not in only):
            continue
        default, text = about["default"], about["help"].format(**given)
        if isinstance(default, Computed):
            text += f" (default: {default.text})"
        # By identity: 0 equals False, but 0 is a default worth showing.
        elif not any(default is nothing for nothing in (None, False, REQUIRED)):
            text += f" (default: {','.join(map(str, default)) if isinstance(default, tuple) else default})"
        keywords = {"help": text.replace("%", "%%")}
        if declared.type is bool:
            keywords["action"] = "store_true"
        else:
            keywords["type"] = _value_type(declared.type, "nargs" in about["keywords"], *about["bounds"])
            keywords["default"] = None if default is REQUIRED or isinstance(default, Computed) else default
        flags = [flag for flag in (about["short"], about["flag"] or f"--{option_name(declared)}") if flag]
        if flags[0].startswith("-"):  # argparse names a positional argument itself
            keywords |= {"dest": option_name(declared), "required": default is REQUIRED}
        group.add_argument(*flags, **(keywords | about["keywords"]))


def _value_type(
    hint: Any, nargs: bool, at_least: float | None, above: float | None, at_most: float | None
) -> Callable[[str], Any]:
    """How argparse reads a value: numbers within the bounds, which the error message names, or what ``hint`` names."""
    kind = get_args(hint)[0] if isinstance(hint, UnionType) else hint  # X | None
    several = get_origin(kind) is tuple and not nargs
    kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
    if kind not in (int, float):
        return kind
    rules = [("at least", operator.ge, at_least), ("more than", operator.gt, above), ("at most", operator.le, at_most)]
    bounds = [(words, holds, bound) for words, holds, bound in rules if bound is not None]
    named = " and ".join(f"{words} {bound}" for words, _, bound in bounds)
    expected = "a list of numbers separated by commas, each" if several else f"a {'whole ' * (kind is int)}number,"
    expected = f"{expected} {named or 'finite'}"

    def read(text: str) -> Any:
        try:
            values = [kind(part) for part in text.split(",") if part] if several else [kind(text)]
        except ValueError:
            values = [math.nan]
        fits = all(math.isfinite(value) and all(holds(value, bound) for _, holds, bound in bounds) for value in values)
        if not fits or (bounds and not values):
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
        return tuple(values) if several else values[0]

    return read


def _collect(options_class: Any, namespace: argparse.Namespace) -> Any:
    """The parsed values as the dataclass. Defaults are computed in the order of the fields."""
    values = {}
    for declared in fields(options_class):
        name, default = option_name(declared), declared.metadata.get("default")
        if is_dataclass(declared.type):
            values[declared.name] = _collect(declared.type, namespace)
        elif hasattr(namespace, name):
            value = getattr(namespace, name)
            if value is None and isinstance(default, Computed):
                value = default.of(namespace)
                setattr(namespace, name, value)
            values[declared.name] = tuple(value) if isinstance(value, list) else value
    return options_class(**values)
