"""Options of train_regressor.py and predict_quality.py: what contradicts itself is a sentence and status 2."""

import pytest

import predict_quality
from learning.regression.fit.search import Grid, search_grid
from options.images import parse_prediction_options
from options.regressor import parse_regressor_options


def test_defaults():
    options = parse_regressor_options(["--scores", "s.csv"])
    assert search_grid(options) == Grid() and options.kinds is None and options.shares == (70, 10, 20)


def test_a_grid_of_ones_own():
    given = "--scores s.csv --estimator ridge --standardize yes --ridge_alphas 1,10 --kind content"
    options = parse_regressor_options(given.split(" "))
    assert search_grid(options) == Grid(("ridge",), (True,), (1.0, 10.0)) and options.kinds == ("content_aware",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of --scores and --database"),
        (["--scores", "s", "--database", "koniq"], "give one of --scores and --database"),
        (["--database", "koniq"], "--database koniq needs --root, the folder where it was unpacked"),
        (["--database", "imagenet", "--root", "."], "invalid choice: 'imagenet'"),
        (
            ["--scores", "s", "--root", "."],
            "--root . goes with --database, the name of the database that is unpacked there",
        ),
        (["--database", "csiq", "--root", ".", "--lower_is_better"], "for a database it is known"),
        (["--scores", "s", "--shares", "70,30"], "--shares takes three numbers over 0"),
        (
            ["--scores", "s", "--shares", "70,30,0"],
            "'70,30,0' is not a list of numbers",
        ),
        (
            ["--scores", "s", "--ridge_alphas", "1,-1"],
            "separated by commas, each more than 0",
        ),
        (["--scores", "s", "--l1_ratios", "1"], "each more than 0 and at most 0.99"),
        (["--scores", "s", "--shares", "70,nan,20"], "is not a list of numbers"),
        (["--scores", "s", "--ridge_alphas", "1,inf"], "is not a list of numbers"),
        (["--scores", "s", "--memory", "inf"], "'inf' is not a number"),
        (["--scores", "s", "--splits", "f.csv", "--n_splits", "3"], "--splits f.csv names the splits"),
        (["--scores", "s", "--n_splits", "0"], "'0' is not a whole number, at least 1"),
        (["--scores", "s", "--output", "r.pkl"], "the name must end in .skops"),
        (["--scores", "s", "--scale", "5,1"], "--scale takes two numbers, the worst and the best score"),
        (["--scores", "s", "--scale", "5"], "--scale takes two numbers"),
    ],
)
def test_contradictions(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_regressor_options(arguments)
    assert caught.value.code == 2 and said in capsys.readouterr().err


def test_help_shows_defaults_as_they_are_typed(capsys):
    with pytest.raises(SystemExit):
        parse_regressor_options(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 70,10,20)" in text and "(default: )" not in text


def test_the_sentence_on_an_interruption_names_features(monkeypatch):
    said = []
    monkeypatch.setattr(predict_quality, "run_script", lambda work, after_interrupt: said.append(after_interrupt))
    for more in ([], ["--features", "kept"]):
        monkeypatch.setattr("sys.argv", ["predict_quality.py", "--input", "x", *more])
        predict_quality.main()
    end = "the features computed so far"
    assert said == [f"interrupted; --features FOLDER would keep {end}", f"interrupted; kept keeps {end}"]


def test_prediction():
    options = parse_prediction_options(["--input", "x", "--content_ckpt", "c.pth"])
    assert str(options.checkpoints["content_aware"]) == "c.pth"
    options = parse_prediction_options(["--input", "x", "--output", "a.csv", "b.HTML", "--output", "c.txt", "d.xlsx"])
    assert list(map(str, options.output)) == ["a.csv", "b.HTML", "c.txt", "d.xlsx"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "a.csv", "scores.pdf"], "--output scores.pdf: the name must end in .csv, .xlsx, .txt or .html"),
        (["--best", "3", "--threshold", "0"], "--best, --worst and --threshold are three selections; give one"),
        (["--best", "0"], "--best 0: give a number of images or a percentage, such as 20 or 5%"),
        (["--worst", "half"], "--worst half: give a number"),
        (["--worst", "-3"], "--worst"),
        (["--threshold", "low"], "'low' is not a number"),
    ],
)
def test_selections_that_make_no_sense(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_prediction_options(["--input", "x", *arguments])
    assert caught.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("amount", "n_images", "n_selected"), [("20", 30, 20), ("5%", 100, 5), ("5%", 101, 6), ("5%", 1, 1), ("100%", 7, 7)]
)
def test_the_number_of_selected_images(amount, n_images, n_selected):
    for name in ("--best", "--worst"):
        assert parse_prediction_options(["--input", "x", name, amount]).n_selected(n_images) == n_selected
