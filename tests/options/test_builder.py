"""A dataclass of options becomes a command line, and its parsed values a frozen dataclass."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from networks.errors import UserError
from options.builder import REQUIRED, Computed, option, parse, part


@dataclass(frozen=True)
class Inner:
    fast: bool = option(False, "faster", group="computing")
    size: int = option(8, "size", at_least=1)


@dataclass(frozen=True)
class Toy:
    """Does {what}.

    More than --help shows.
    """

    what: str
    names: tuple[str, ...] = option(REQUIRED, "names of {what}", nargs="+")
    given_rate: float | None = option(None, "rate, at most 5 %", short="-r", above=0, at_most=5)
    alphas: tuple[float, ...] = option((1, 2), "alphas", above=0)
    steps: int = option(Computed("one for each name", lambda given: len(given.names)), "steps", flag="--n-steps")
    inner: Inner = part("size")

    def __post_init__(self):
        if self.steps > 9:
            raise UserError(f"--n-steps {self.steps} are too many")


def parse_toy(*arguments):
    return parse(Toy, "toy.py", arguments, what="tests")


def test_values_and_defaults():
    toy = parse_toy("--names", "a", "b")
    assert toy == Toy(what="tests", names=("a", "b"), given_rate=None, alphas=(1, 2), steps=2, inner=Inner())
    toy = parse_toy("--names", "a", "-r", "2.5", "--alphas", "3,4.5", "--n-steps", "7", "--size", "3")
    assert (toy.given_rate, toy.alphas, toy.steps, toy.inner) == (2.5, (3.0, 4.5), 7, Inner(size=3))
    with pytest.raises(FrozenInstanceError):
        toy.steps = 3


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        parse_toy("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0 and "Does tests. options:" in shown and "names of tests" in shown
    assert "-r RATE, --rate RATE rate, at most 5 %" in shown and "alphas (default: 1,2)" in shown
    assert "steps (default: one for each name)" in shown
    assert "computing: --size SIZE size (default: 8)" in shown and "--fast" not in shown


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "the following arguments are required: --names"),
        (["--names", "a", "--rate", "6"], "argument -r/--rate: '6' is not a number, more than 0 and at most 5"),
        (["--names", "a", "--size", "1.5"], "argument --size: '1.5' is not a whole number, at least 1"),
        (["--names", "a", "--alphas", ""], "'' is not a list of numbers separated by commas, each more than 0"),
        (["--names", "a", "--n-steps", "10"], "--n-steps 10 are too many"),
        (["--names", "a", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        parse_toy(*arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("toy.py: ") and sentence in said and said.count("\n") == 1
