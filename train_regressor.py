"""Features and opinion scores -> a regressor, evaluated by the protocol, and a report on it. See the README."""

from common.process import run_script
from options.regressor import parse_regressor_options


def train() -> None:
    options = parse_regressor_options()
    # Imported below the options: --help needs no pandas and no scikit-learn, which take seconds.
    from learning.regression.train import train_regressor

    train_regressor(options)


def main() -> None:
    run_script(train, after_interrupt="interrupted; no regressor was written")


if __name__ == "__main__":
    main()
