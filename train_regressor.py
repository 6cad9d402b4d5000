"""Features and opinion scores -> a regressor, evaluated by the protocol, and a report on it. See the README."""

from common.process import run_script
from options.regressor import parse_regressor_options


def main() -> None:
    options = parse_regressor_options()
    # Imported after the options are parsed: --help needs neither pandas nor scikit-learn.
    from learning.regression.train import train_regressor

    run_script(lambda: train_regressor(options), after_interrupt="interrupted; nothing was written")


if __name__ == "__main__":
    main()
