"""main_contrast.py with networks of an eighth of the channels.

A training on small crops spends its time on the weights: steps of the optimiser, digests, checkpoints. Processes that
are started anew read this file too, so they have the same networks. Tests of the results use ``narrow_networks``.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # not this folder, which has packages of the same names
sys.argv[0] = "main_contrast.py"  # in messages

from common.process import REQUEUE, run_script  # noqa: E402
from main_contrast import main  # noqa: E402
from networks import resnet  # noqa: E402

resnet.WIDTH = 8

if __name__ == "__main__":
    run_script(main, after_interrupt="interrupted before the first step", terminated=REQUEUE)
