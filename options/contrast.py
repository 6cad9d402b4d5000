"""Options of main_contrast.py: the command line as one frozen, typed configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from common.machine import n_cores
from common.names import ARCHITECTURES, HEADS, NEGATIVES
from datasets.images import MAX_PIXELS
from options.argument_types import Parser, number, numbers


class Preset(NamedTuple):
    """The projection head and the temperature that a method prescribes."""

    head: str
    nce_t: float


METHODS: dict[str, Preset | None] = {
    "MoCo": Preset("linear", 0.07),
    "MoCov2": Preset("mlp", 0.2),
    "Customize": None,  # head and temperature are those of the command line
}

DEFAULT_HEAD = "linear"
DEFAULT_TEMPERATURE = 0.07


class ViewDefaults(NamedTuple):
    """Defaults that depend on what the encoder learns."""

    batch_size: int
    learning_rate: float
    epochs: int


VIEW_DEFAULTS = {
    "quality": ViewDefaults(batch_size=60, learning_rate=0.05, epochs=30),
    "content": ViewDefaults(batch_size=256, learning_rate=0.03, epochs=200),  # MoCo v2's for ImageNet
}

LOCAL_URL = "tcp://127.0.0.1:23456"
"""The default address at which the processes of a training meet: reachable on this machine only."""

AUTO = "auto"
"""The value of --resume that looks for this run's newest checkpoint."""

MAX_WORKERS = 40
WARM_UP_FROM_BATCH_SIZE = 257


@dataclass(frozen=True)
class ContrastOptions:
    """The command line of main_contrast.py, made by ``parse_contrast_options``. ``--help`` explains each field.

    ``given_*`` is the value on the command line. A method or a batch size may replace it: the property without the
    prefix is the value that is used.
    """

    # Training images
    csv_path: Path
    data_folder: Path | None
    views: str  # "quality" or "content"
    n_aug: int
    n_scale: int
    n_distortions: int
    patch_size: int
    swap_crops: int
    max_pixels: int
    max_bad: float  # percent
    num_workers: int  # per node

    # Network and contrast
    method: str
    arch: str
    init: Path | None
    given_head: str | None
    feat_dim: int
    nce_k: int
    given_nce_t: float | None
    alpha: float
    negatives: str
    level_weight: float

    # Optimisation
    epochs: int
    batch_size: int  # images, over all processes
    optimizer: str
    learning_rate: float
    cosine: bool
    schedule: str
    given_warm: bool
    lr_decay_epochs: tuple[int, ...]
    lr_decay_rate: float
    weight_decay: float
    momentum: float
    amp: bool
    compile: bool
    seed: int

    # Output
    model_path: Path
    tb_path: Path
    print_freq: int
    save_freq: int
    save_steps: int | None
    keep: int | None
    resume: str | None

    # Probe
    probe: Path | None
    probe_every: int | None  # steps

    # Machines
    multiprocessing_distributed: bool
    world_size: int  # nodes; -1: not given
    rank: int  # of the node; -1: not given
    nproc_per_node: int | None
    dist_url: str
    join_timeout: float  # seconds
    bf16_gradients: bool
    dist_backend: str | None
    gpu: int | None

    @property
    def preset(self) -> Preset:
        """Head and temperature: the method's, or with ``Customize`` the given ones."""
        given = Preset(self.given_head or DEFAULT_HEAD, self.given_nce_t or DEFAULT_TEMPERATURE)
        return METHODS[self.method] or given

    @property
    def head(self) -> str:
        return self.preset.head

    @property
    def nce_t(self) -> float:
        return self.preset.nce_t

    @property
    def warm(self) -> bool:
        """Whether the learning rate warms up: on request, and always for large batches."""
        return self.given_warm or self.batch_size >= WARM_UP_FROM_BATCH_SIZE

    @property
    def rows_per_image(self) -> int:
        """Pairs of crops that a step makes from one image."""
        return self.n_scale * (self.n_aug + 1) if self.views == "quality" else 1

    @property
    def run_name(self) -> str:
        """The name of this run's folder, below ``model_path`` and ``tb_path``."""
        chunks = [f"aug{self.n_aug}", f"scale{self.n_scale}", f"dist{self.n_distortions}"]
        chunks.append("swap" if self.swap_crops else "noswap")
        parts = [
            self.method,
            self.arch,
            self.head,
            *(chunks if self.views == "quality" else ["content"]),
            f"patch{self.patch_size}",
            f"k{self.nce_k}",
            f"t{self.nce_t:g}",
            self.optimizer,
            f"lr{self.learning_rate:g}",
            f"bs{self.batch_size}",
            f"ep{self.epochs}",
            "cosine" if self.cosine else "steps",
            *(["bystep"] if self.schedule == "step" else []),
            *([self.negatives] if self.negatives != NEGATIVES[0] else []),
            *([f"levels{self.level_weight:g}"] if self.level_weight else []),
        ]
        return "_".join(parts + ["warm"] * self.warm + ["amp"] * self.amp)

    @property
    def notices(self) -> list[str]:
        """Messages about options that the program replaces, and about settings that are rarely intended."""
        notices = []
        given = {"head": self.given_head, "nce_t": self.given_nce_t}
        for name, value in self.preset._asdict().items():
            if given[name] not in (None, value):
                notices.append(
                    f"--method {self.method} sets --{name} {value} and ignores --{name} {given[name]}; "
                    "--method Customize uses the given value"
                )
        if self.warm and self.epochs <= 5:
            notices.append(f"the warm-up takes 5 epochs and does not end within --epochs {self.epochs}")
        if self.cosine and self.schedule == "epoch" and self.epochs == 1:
            notices.append("--cosine with --epochs 1 trains at the schedule's last and lowest learning rate throughout")
        if self.world_size > 1 and self.dist_url == LOCAL_URL:
            notices.append(f"--dist-url {self.dist_url} is this machine; other nodes cannot reach it")
        return notices


def parse_contrast_options(arguments: Sequence[str] | None = None) -> ContrastOptions:
    """The options of a command line (default: this process's). A mistake ends the program with status 2."""
    parser = _build_parser()
    given = parser.parse_args(arguments)
    given.views = given.views or ("content" if given.data_folder else "quality")
    for name, default in VIEW_DEFAULTS[given.views]._asdict().items():
        if getattr(given, name) is None:
            setattr(given, name, default)
    if given.num_workers is None:
        given.num_workers = min(n_cores(), MAX_WORKERS)
    options = ContrastOptions(**{field.name: getattr(given, field.name) for field in fields(ContrastOptions)})
    mistake = _find_mistake(options)
    if mistake:
        parser.error(mistake)
    return options


def _build_parser() -> Parser:
    parser = Parser(
        prog="main_contrast.py",
        description="Trains an image-quality encoder without labels, by momentum contrast (Re-IQA, CVPR 2023).",
    )
    _add_data(parser.add_argument_group("training images"))
    _add_model(parser.add_argument_group("network and contrast"))
    _add_optimisation(parser.add_argument_group("optimisation"))
    _add_output(parser.add_argument_group("output"))
    _add_probe(parser.add_argument_group("probe"))
    _add_machines(parser.add_argument_group("machines"))
    return parser


Group = argparse._ArgumentGroup
"""argparse has no public name for what ``add_argument_group`` returns."""


def _add_data(group: Group) -> None:
    add = group.add_argument
    add(
        "--csv_path",
        type=Path,
        default="./csv_files/moco_train.csv",
        help="CSV with a column Image_path (see csv_files/README.md), or tar shards: a tar file, a folder or a list",
    )
    add(
        "--data_folder",
        type=Path,
        help="train the content-aware encoder on the images of this folder (ImageNet, or any tree of folders)",
    )
    add(
        "--views",
        choices=tuple(VIEW_DEFAULTS),
        help="what the encoder learns from the images (default: content with --data_folder, else quality)",
    )
    add("--n_aug", "-n_aug", type=number(int, 0, at_most=26), default=7, help="distorted versions per image")
    add("--n_scale", "-n_scale", type=int, choices=(1, 2), default=1, help="1: full scale; 2: half scale as well")
    add(
        "--n_distortions",
        "-n_distortions",
        type=int,
        choices=(1, 2),
        default=1,
        help="2: one version in ten is distorted twice",
    )
    add("--patch_size", "-patch_size", type=number(int, 32), default=224, help="side of a crop in pixels")
    add(
        "--swap_crops",
        "-swap_crops",
        type=int,
        choices=(0, 1),
        default=1,
        help="1: exchange query and key crop in half of the versions",
    )
    add(
        "--max_pixels",
        type=number(int, 1),
        default=MAX_PIXELS,
        help="refuse images with more pixels, as decompression bombs",
    )
    add(
        "--max_bad",
        type=number(float, 0, at_most=100),
        default=1.0,
        help="stop when more than this percentage of the images is unreadable; until then, other images replace them",
    )
    add(
        "-j",
        "--num_workers",
        type=number(int, 0),
        help=f"data workers per node, shared by its processes (default: number of cores, at most {MAX_WORKERS})",
    )


def _add_model(group: Group) -> None:
    add = group.add_argument
    add(
        "--method",
        choices=tuple(METHODS),
        default="Customize",
        help="MoCo: linear head, temperature 0.07; MoCov2: mlp head, temperature 0.2; Customize: --head and --nce_t",
    )
    add("--arch", choices=ARCHITECTURES, default="resnet50", help="encoder")
    add("--init", type=Path, metavar="CHECKPOINT", help="start from the weights of this encoder, not from random ones")
    add("--head", dest="given_head", choices=HEADS, help=f"projection head (default: {DEFAULT_HEAD})")
    add("-d", "--feat_dim", type=number(int, 1), default=128, help="size of an embedding")
    add("-k", "--nce_k", type=number(int, 1), default=65536, help="number of keys in the queue")
    add(
        "-t",
        "--nce_t",
        dest="given_nce_t",
        metavar="NCE_T",
        type=number(float, above=0),
        help=f"temperature (default: {DEFAULT_TEMPERATURE})",
    )
    add("--alpha", type=number(float, 0, at_most=1), default=0.999, help="momentum (EMA) of the key encoder")
    add(
        "--negatives",
        choices=NEGATIVES,
        default=NEGATIVES[0],
        help="queue: keys of earlier steps, as released; queue+batch: also the other keys of the step, which include "
        "those of other versions of the same image",
    )
    add(
        "--level_weight",
        type=number(float, 0),
        default=0,
        help="weight of a second loss, with which the encoder learns to recognise kinds and levels of distortions",
    )


def _add_optimisation(group: Group) -> None:
    add = group.add_argument
    quality, content = VIEW_DEFAULTS["quality"], VIEW_DEFAULTS["content"]

    def defaults(name: str) -> str:
        return f"(default: {getattr(quality, name)}; {getattr(content, name)} with --views content)"

    add("--epochs", type=number(int, 1), help=f"passes over the images {defaults('epochs')}")
    add("--batch_size", type=number(int, 1), help=f"images per step, over all processes {defaults('batch_size')}")
    add("--optimizer", choices=("SGD", "AdamW", "LARS"), default="SGD", help="optimiser")
    add("--learning_rate", type=number(float, above=0), help=f"learning rate {defaults('learning_rate')}")
    add("--cosine", action="store_true", help="cosine schedule instead of steps")
    add(
        "--schedule",
        choices=("epoch", "step"),
        default="epoch",
        help="how often the cosine moves; with epoch, as released, the last epoch has the lowest rate throughout",
    )
    add(
        "--warm",
        dest="given_warm",
        action="store_true",
        help=f"warm-up over 5 epochs (always on for a batch_size of {WARM_UP_FROM_BATCH_SIZE} or more)",
    )
    add("--lr_decay_epochs", type=numbers(int), default=(120, 160), help="epochs after which the rate decays")
    add("--lr_decay_rate", type=number(float, 0), default=0.1, help="factor of each decay")
    add("--weight_decay", type=number(float, 0), default=1e-4, help="weight decay")
    add("--momentum", type=number(float, 0), default=0.9, help="momentum of SGD and LARS")
    add("--amp", action="store_true", help="mixed precision (bfloat16, or float16 on GPUs without it)")
    add(
        "--compile",
        action="store_true",
        help="torch.compile for both networks: takes a minute at the start; steps are faster on some machines only",
    )
    add("--seed", type=number(int, 0), default=0, help="random seed for weights, queue, crops and distortions")


def _add_output(group: Group) -> None:
    add = group.add_argument
    add("--model_path", type=Path, default="./test", help="root folder for checkpoints; each run gets a subfolder")
    add("--tb_path", type=Path, default="./test", help="root folder for TensorBoard logs; each run gets a subfolder")
    add("--print_freq", type=number(int, 1), default=10, help="steps between two progress lines")
    add("--save_freq", type=number(int, 1), default=1, help="epochs between two checkpoints that are kept")
    add("--save_steps", type=number(int, 1), help="steps between two checkpoints within an epoch (default: none)")
    add("--keep", type=number(int, 1), help="number of newest ckpt_epoch_N.pth files to keep (default: all)")
    add(
        "--resume",
        metavar=f"CHECKPOINT|{AUTO}",
        help=f"continue from this checkpoint; {AUTO}: from the newest valid one of this run, if there is one",
    )


def _add_probe(group: Group) -> None:
    add = group.add_argument
    add(
        "--probe",
        type=Path,
        metavar="SCORES.csv|FOLDER",
        help="measure the encoder while it trains, and keep the best one as best.pth; SCORES.csv: photographs with "
        "opinion scores (columns image and mos); FOLDER: undistorted photographs, to recognise kinds and levels of "
        "distortions",
    )
    add(
        "--probe_every",
        type=number(int, 1),
        help="steps between two measurements (default: measurements take less than 3 %% of the time)",
    )


def _add_machines(group: Group) -> None:
    add = group.add_argument
    add(
        "--multiprocessing-distributed",
        action="store_true",
        help="start this node's processes: one per GPU, or --nproc-per-node",
    )
    add("--world-size", type=int, default=-1, help="number of nodes")
    add("--rank", type=int, default=-1, help="number of this node, from 0")
    add("--nproc-per-node", type=number(int, 1), help="processes on this node (default: its number of GPUs)")
    add("--dist-url", default=LOCAL_URL, help="address at which node 0 listens, the same on all nodes")
    add(
        "--join-timeout",
        type=number(float, above=0),
        default=600,
        help="seconds to wait for the other nodes or processes at the start",
    )
    add(
        "--bf16_gradients",
        action="store_true",
        help="average the gradients of all processes in bfloat16: half the bytes on a slow network, less exact",
    )
    add(
        "--dist-backend",
        choices=("nccl", "gloo"),
        help="backend of torch.distributed (default: nccl with GPUs, gloo without)",
    )
    add("--gpu", type=number(int, 0), help="train on this GPU alone")


def _find_mistake(options: ContrastOptions) -> str | None:
    """A sentence on the first contradiction between two options; None where there is none."""
    if options.data_folder and options.views == "quality":
        return "--data_folder is for --views content; list the images of a folder in a CSV for --views quality"
    if options.init and options.resume not in (None, AUTO):
        return "--init starts a training and --resume CHECKPOINT continues one; give one of them"
    if options.level_weight and options.views == "content":
        return "--level_weight is for --views quality: content-aware crops are not distorted"
    if options.probe_every and not options.probe:
        return "--probe_every goes with --probe"
    if options.schedule == "step" and not options.cosine:
        return "--schedule step moves the cosine; add --cosine"
    if options.world_size == 0 or options.world_size < -1:
        return f"--world-size {options.world_size}: the number of nodes is at least 1"
    if options.world_size > 1 and not options.multiprocessing_distributed:
        return "--world-size counts nodes; add --multiprocessing-distributed to start each node's processes"
    if options.world_size > 1 and not 0 <= options.rank < options.world_size:
        return f"--rank {options.rank}: with --world-size {options.world_size} it is 0 to {options.world_size - 1}"
    if options.world_size <= 1 and options.rank > 0:
        return f"--rank {options.rank} needs --world-size, the number of nodes"
    if options.nproc_per_node and not options.multiprocessing_distributed:
        return "--nproc-per-node goes with --multiprocessing-distributed"
    if options.gpu is not None and options.multiprocessing_distributed:
        return "--gpu names one GPU; with --multiprocessing-distributed each process has its own"
    return None
