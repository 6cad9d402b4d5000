"""``python -m benchmarks.small_training PHOTOS SCORED``: short trainings at an equal budget, judged by opinions.

PHOTOS is a training CSV or a folder of photographs. SCORED is a folder with images and ``mos.csv`` (image, mos, and
group where images belong together). Each of SETTINGS trains a ResNet-18 on the same crops; then Ridge is fitted on its
features, on the same splits. Prints the median SRCC over the test parts, with a 95 % interval from resampled images,
for each pooling, below that of the untrained network. One epoch of 2,700 photographs takes ten minutes on one core.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common import machine
from common.names import POOLINGS
from learning.regression.evaluate.cross_database import read_set
from learning.regression.evaluate.intervals import bootstrap_intervals
from learning.regression.evaluate.protocol import run_protocol
from learning.regression.fit.settings import Grid
from learning.regression.fit.splits import random_splits
from networks import build_encoder

ROOT = Path(__file__).parent.parent
COMMON = """--method Customize --head mlp --cosine --schedule step --n_aug 11 --n_scale 2 --batch_size 8 --amp -j 0
    --resume auto --save_steps 50"""
DEFAULTS = {"arch": "resnet18", "patch_size": "64", "nce_k": "8192", "nce_t": "0.2", "alpha": "0.99"}
LARS = {"optimizer": "LARS", "learning_rate": "1.5"}
BATCH = {"negatives": "queue+batch"}
OURS = BATCH | {"optimizer": "AdamW", "learning_rate": "1e-3", "level_weight": "0.3"}


@dataclass(frozen=True)
class Setting:
    """Options of a training; only one photograph ``in_every`` is used, that many times as often."""

    options: dict[str, str]
    in_every: int = 1


SETTINGS = {
    "negatives from the queue, LARS, as released": Setting(LARS),
    "negatives from the batch too, LARS": Setting(LARS | BATCH),
    "and levels, LARS": Setting(LARS | BATCH | {"level_weight": "0.3"}),
    "negatives from the batch too, AdamW": Setting(OURS | {"level_weight": "0"}),
    "and levels, AdamW: the embedded model's": Setting(OURS),
    "with learning rate 3e-4": Setting(OURS | {"learning_rate": "3e-4"}),
    "with temperature 0.07": Setting(OURS | {"nce_t": "0.07"}),
    "with temperature 0.5": Setting(OURS | {"nce_t": "0.5"}),
    "with alpha 0.9": Setting(OURS | {"alpha": "0.9"}),
    "with alpha 0.999": Setting(OURS | {"alpha": "0.999"}),
    "with a queue of 1,024": Setting(OURS | {"nce_k": "1024"}),
    "with a queue of 65,536": Setting(OURS | {"nce_k": "65536"}),
    "with one version in ten distorted twice": Setting(OURS | {"n_distortions": "2"}),
    "with a quarter of the photographs": Setting(OURS, in_every=4),
    "with crops of 96 pixels": Setting(OURS | {"patch_size": "96"}),
    "with crops of 160 pixels": Setting(OURS | {"patch_size": "160"}),
    "with a ResNet-50": Setting(OURS | {"arch": "resnet50"}),
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
        mos, groups = data.scores.mos, data.scores.groups
        splits = random_splits(len(mos), groups, N_SPLITS, SHARES, seed=0)
        memory = machine.memory() // 4
        evaluation = run_protocol(data.features, mos, splits, Grid(("ridge",)), 1, memory, choice="shared")
        held_out = replace(evaluation.reported, groups=groups)
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
    parser.add_argument("--only", nargs="+", help="settings whose name holds one of these texts")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    photos = options.photos
    if photos.is_dir():
        photos = options.output / "photos.csv"
        run("-m", "datasets.training_csv --all", options.photos, photos)

    print(f"{'':<46s}" + "".join(f"{pooling:<24s}" for pooling in POOLINGS), flush=True)
    untrained = options.output / "untrained.pth"
    torch.manual_seed(0)
    torch.save(build_encoder("resnet18", zero_init_residual=True).state_dict(), untrained)
    print(f"{'untrained':<46s}{judge(untrained, options.scored, options.output / 'untrained')}", flush=True)
    for name, setting in SETTINGS.items():
        if any(text in name for text in options.only or [""]):
            print(f"{name:<46s}{try_setting(name, setting, photos, options)}", flush=True)


def try_setting(name: str, setting: Setting, photos: Path, options: argparse.Namespace) -> str:
    """Trains with a setting, and judges the result."""
    folder = options.output / re.sub(r"\W+", "_", name)
    folder.mkdir(exist_ok=True)
    header, *rows = photos.read_text().splitlines()
    chosen = folder / "photos.csv"
    chosen.write_text("\n".join([header, *rows[:: setting.in_every]]) + "\n")
    epochs = options.epochs * setting.in_every
    given = " ".join(f"--{option} {value}" for option, value in (DEFAULTS | setting.options).items())
    paths = ("--csv_path", chosen, "--model_path", folder / "run", "--tb_path", folder / "tb")
    run("main_contrast.py", f"{COMMON} {given} --epochs {epochs} --keep 1", *paths)
    (checkpoint,) = (folder / "run").glob(f"*/ckpt_epoch_{epochs}.pth")
    return judge(checkpoint, options.scored, folder)


if __name__ == "__main__":
    main()
