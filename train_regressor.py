"""Features and opinion scores -> a regressor, evaluated by the protocol, and a report on it. See the README."""

from common.process import run_script
from options.regressor import RegressorOptions, parse_regressor_options


def train(options: RegressorOptions) -> None:
    # Imported after the options are parsed: --help needs neither pandas nor scikit-learn.
    from learning.regression.train import train_regressor

    train_regressor(options)


def main() -> None:
    options = parse_regressor_options()
    run_script(lambda: train(options), after_interrupt="interrupted; nothing was written")


if __name__ == "__main__":
    main()
