"""``python -m benchmarks.small_training PHOTOS SCORED``: short trainings at an equal budget, judged by opinions.

PHOTOS is a training CSV or a folder of photographs. SCORED is a folder with images and ``mos.csv`` (image, mos, and
group where images belong together). Each of SETTINGS trains a ResNet-18 on the same crops; then Ridge is fitted on its
features, on the same splits. Prints the median SRCC over the test parts, with a 95 % interval from resampled images,
for both poolings, below that of the untrained network. One epoch of 2,700 photographs takes ten minutes on one core.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from common import machine
from common.names import POOLINGS
from learning.regression.across import read_set
from learning.regression.evaluation import run_protocol
from learning.regression.settings import Grid
from learning.regression.significance import bootstrap_intervals
from learning.regression.splits import random_splits
from networks import build_encoder

ROOT = Path(__file__).parent.parent
COMMON = """--method MoCov2 --cosine --schedule step --arch resnet18 --patch_size 64 --n_aug 11 --n_scale 2
    --batch_size 8 --nce_k 8192 --alpha 0.99 --amp -j 0 --resume auto --save_steps 50"""
LARS, ADAMW = "--optimizer LARS --learning_rate 1.5", "--optimizer AdamW --learning_rate 1e-3"
SETTINGS = {
    "as released: negatives from the queue, LARS": LARS,
    "the step's own keys as negatives": f"{LARS} --negatives queue+batch",
    "and levels": f"{LARS} --negatives queue+batch --level_weight 0.3",
    "and AdamW": f"{ADAMW} --negatives queue+batch --level_weight 0.3",
    "AdamW without levels": f"{ADAMW} --negatives queue+batch",
    "two distortions": f"{ADAMW} --negatives queue+batch --level_weight 0.3 --n_distortions 2",
}
N_SPLITS, SHARES = 20, (0.7, 0.1, 0.2)
N_RESAMPLES = 300


def run(script: str, arguments: str, *more: object) -> None:
    """Runs a script of the project (or ``-m`` and a module in ``arguments``); exits where it fails."""
    what = script if script == "-m" else str(ROOT / script)
    command = [sys.executable, what, *shlex.split(arguments), *map(str, more)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed with status {done.returncode}")


def judge(checkpoint: Path, scored: Path, folder: Path) -> str:
    """The SRCC by each pooling, as text."""
    columns = []
    for pooling in POOLINGS:
        output = folder / pooling
        arguments = f"--amp --pooling {pooling} -j 0"
        run("demo_quality_aware_feats.py", arguments, "--ckpt", checkpoint, "--input", scored, "--output_dir", output)
        data = read_set(pooling, str(output), str(scored / "mos.csv"))
        splits = random_splits(len(data.mos), data.groups, N_SPLITS, SHARES, seed=0)
        memory = machine.memory() // 4
        evaluation = run_protocol(data.features, data.mos, splits, Grid(("ridge",)), 1, memory, choice="shared")
        images = [str(row) for row in range(len(data.mos))]
        held_out = evaluation.held_out(images, data.mos, data.groups)
        srcc = bootstrap_intervals(held_out, n_resamples=N_RESAMPLES)["srcc"]
        columns.append(f"{srcc.estimate:.3f} [{srcc.low:.3f}, {srcc.high:.3f}]")
    return "".join(f"{column:<24s}" for column in columns)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="training CSV, or folder of photographs")
    parser.add_argument("scored", type=Path, help="folder with images and mos.csv")
    parser.add_argument("--output", type=Path, default=Path("small_training"), help="runs and features are kept here")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the photographs, for every setting")
    parser.add_argument("--only", help="settings whose name holds this text")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    photos = options.photos
    if photos.is_dir():
        photos = options.output / "photos.csv"
        run("-m", "datasets.training_csv --all", options.photos, photos)

    print(f"{'':<46s}{POOLINGS[0]:<24s}{POOLINGS[1]}", flush=True)
    untrained = options.output / "untrained.pth"
    torch.manual_seed(0)
    torch.save(build_encoder("resnet18", zero_init_residual=True).state_dict(), untrained)
    print(f"{'untrained':<46s}{judge(untrained, options.scored, options.output / 'untrained')}", flush=True)
    for number, (name, setting) in enumerate(SETTINGS.items()):
        if options.only and options.only not in name:
            continue
        folder = options.output / f"setting{number}"
        paths = ("--csv_path", photos, "--model_path", folder / "run", "--tb_path", folder / "tb")
        run("main_contrast.py", f"{COMMON} {setting} --epochs {options.epochs}", *paths)
        (checkpoint,) = (folder / "run").glob(f"*/ckpt_epoch_{options.epochs}.pth")
        print(f"{name:<46s}{judge(checkpoint, options.scored, folder)}", flush=True)


if __name__ == "__main__":
    main()
