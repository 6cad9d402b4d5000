"""Options of main_contrast.py."""

import argparse
import os
from collections.abc import Sequence

from datasets.images import MAX_PIXELS
from options.argument_types import Parser, number, numbers

METHODS = {"MoCo": ("linear", 0.07), "MoCov2": ("mlp", 0.2), "Customize": None}
"""What each method sets, head and temperature; Customize takes both from the options."""

CONTENT_DEFAULTS = {"batch_size": 256, "learning_rate": 0.03, "epochs": 200}
"""What differs where content is learnt (MoCo v2's on ImageNet); a given option wins."""

MANY_WORKERS = 40


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="main_contrast.py",
        description="Trains an image-quality encoder without labels, by momentum contrast (Re-IQA, CVPR 2023).",
    )

    data = parser.add_argument_group("training images")
    data.add_argument(
        "--csv_path", default="./csv_files/moco_train.csv", help="CSV with a column Image_path, see csv_files/README.md"
    )
    data.add_argument(
        "--data_folder",
        help="train the content-aware encoder on this folder of images instead (ImageNet's, or any tree)",
    )
    data.add_argument(
        "--views",
        choices=("quality", "content"),
        help="what the encoder learns from the images (default: content with --data_folder, else quality)",
    )
    data.add_argument(
        "--n_aug", "-n_aug", type=number(int, 0, at_most=26), default=7, help="distorted versions per image"
    )
    data.add_argument(
        "--n_scale", "-n_scale", type=int, choices=(1, 2), default=1, help="1: full scale; 2: half scale as well"
    )
    data.add_argument(
        "--n_distortions",
        "-n_distortions",
        type=int,
        choices=(1, 2),
        default=1,
        help="2: one version in ten is distorted twice",
    )
    data.add_argument("--patch_size", "-patch_size", type=number(int, 32), default=224, help="side of a crop, pixels")
    data.add_argument(
        "--swap_crops",
        "-swap_crops",
        type=int,
        choices=(0, 1),
        default=1,
        help="exchange query and key crop in half of the versions",
    )
    data.add_argument(
        "--max_pixels", type=number(int, 1), default=MAX_PIXELS, help="refuse images with more, as decompression bombs"
    )
    data.add_argument(
        "--max_bad",
        type=number(float, 0, at_most=100),
        default=1.0,
        help="percent of the images that may be unreadable (they are replaced) before training stops",
    )
    data.add_argument(
        "-j",
        "--num_workers",
        type=number(int, 0),
        help=f"data workers per node, shared by its processes (default: the machine's cores, at most {MANY_WORKERS})",
    )

    model = parser.add_argument_group("network and contrast")
    model.add_argument(
        "--method",
        choices=METHODS,
        default="Customize",
        help="MoCo: linear head, temperature 0.07; MoCov2: mlp head, 0.2; Customize: as given",
    )
    model.add_argument(
        "--arch",
        choices=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        default="resnet50",
        help="encoder",
    )
    model.add_argument("--init", metavar="CHECKPOINT", help="start from this encoder's weights instead of random ones")
    model.add_argument("--head", choices=("linear", "mlp"), default="linear", help="projection head")
    model.add_argument("-d", "--feat_dim", type=number(int, 1), default=128, help="values of an embedding")
    model.add_argument("-k", "--nce_k", type=number(int, 1), default=65536, help="keys in the queue")
    model.add_argument("-t", "--nce_t", type=number(float, above=0), default=0.07, help="temperature")
    model.add_argument("--alpha", type=number(float, 0, at_most=1), default=0.999, help="key encoder's momentum")

    optimisation = parser.add_argument_group("optimisation")
    optimisation.add_argument("--epochs", type=number(int, 1), default=30, help="passes over the images")
    optimisation.add_argument(
        "--batch_size", type=number(int, 1), default=60, help="images per step, over all processes"
    )
    optimisation.add_argument("--optimizer", choices=("SGD", "AdamW", "LARS"), default="SGD", help="optimiser")
    optimisation.add_argument("--learning_rate", type=number(float, above=0), default=0.05, help="learning rate")
    optimisation.add_argument("--cosine", action="store_true", help="cosine schedule instead of steps")
    optimisation.add_argument(
        "--warm", action="store_true", help="warm-up over 5 epochs (by itself when batch_size is over 256)"
    )
    optimisation.add_argument(
        "--lr_decay_epochs", type=numbers(int), default=(120, 160), help="epochs after which the rate decays"
    )
    optimisation.add_argument("--lr_decay_rate", type=number(float, 0), default=0.1, help="factor of a decay")
    optimisation.add_argument("--weight_decay", type=number(float, 0), default=1e-4, help="weight decay")
    optimisation.add_argument("--momentum", type=number(float, 0), default=0.9, help="momentum of SGD and LARS")
    optimisation.add_argument("--amp", action="store_true", help="mixed precision (bfloat16, else float16)")
    optimisation.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile for both networks: a minute at the start; faster steps on some machines only",
    )
    optimisation.add_argument("--seed", type=number(int, 0), default=0, help="of weights, queue, crops, distortions")

    output = parser.add_argument_group("output")
    output.add_argument("--model_path", default="./test", help="checkpoints go to a folder of the run below this one")
    output.add_argument("--tb_path", default="./test", help="TensorBoard logs, likewise")
    output.add_argument("--print_freq", type=number(int, 1), default=10, help="steps between two reports")
    output.add_argument("--save_freq", type=number(int, 1), default=1, help="epochs between two kept checkpoints")
    output.add_argument("--save_steps", type=number(int, 1), help="steps between two checkpoints within an epoch")
    output.add_argument(
        "--keep", type=number(int, 1), help="how many of the checkpoints named by their epoch stay (default: all)"
    )
    output.add_argument(
        "--resume",
        metavar="CHECKPOINT|auto",
        help="continue from this checkpoint; auto: from the newest whole one of the run's folder, if there is one",
    )

    machines = parser.add_argument_group("machines")
    machines.add_argument(
        "--multiprocessing-distributed",
        action="store_true",
        help="start this node's processes: one per GPU, or --nproc-per-node",
    )
    machines.add_argument("--world-size", type=int, default=-1, help="number of nodes")
    machines.add_argument("--rank", type=int, default=-1, help="which of the nodes this is, from 0")
    machines.add_argument("--nproc-per-node", type=number(int, 1), help="processes on this node (default: its GPUs)")
    machines.add_argument(
        "--dist-url", default="tcp://127.0.0.1:23456", help="where the first node listens, the same on all nodes"
    )
    machines.add_argument(
        "--join-timeout", type=number(float, above=0), default=600, help="seconds to wait for the other nodes"
    )
    machines.add_argument("--dist-backend", choices=("nccl", "gloo"), help="default: nccl with GPUs, gloo without")
    machines.add_argument("--gpu", type=number(int, 0), help="train on this GPU alone")
    return parser


def parse_contrast_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses and completes the options; a mistake ends the program with a sentence and status 2.

    Adds ``run_name``, the folder of the run below model_path and tb_path, and ``notices``, sentences on what was
    decided in a person's place.
    """
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if (options.views or ("content" if options.data_folder else "quality")) == "content":
        parser.set_defaults(views="content", **CONTENT_DEFAULTS)
    else:
        parser.set_defaults(views="quality")
    options = parser.parse_args(arguments)
    if options.data_folder and options.views == "quality":
        parser.error("--data_folder is for --views content; list the images of a folder in a CSV for --views quality")
    if options.init and options.resume not in (None, "auto"):
        parser.error("--init starts a training and --resume CHECKPOINT continues one; give one of them")
    options.notices = []

    if METHODS[options.method]:
        head, temperature = METHODS[options.method]
        given = {"head": parser.get_default("head"), "nce_t": parser.get_default("nce_t")}
        for name, value in (("head", head), ("nce_t", temperature)):
            if getattr(options, name) not in (given[name], value):
                options.notices.append(
                    f"--method {options.method} sets --{name} {value}; {getattr(options, name)} is not used "
                    "(--method Customize would take it)"
                )
            setattr(options, name, value)
    options.warm = options.warm or options.batch_size > 256
    if options.warm and options.epochs <= 5:
        options.notices.append(f"warm-up takes 5 epochs; in --epochs {options.epochs} it does not end")
    if options.cosine and options.epochs == 1:
        options.notices.append("--cosine with --epochs 1 trains at the schedule's last and lowest rate throughout")
    if options.num_workers is None:
        options.num_workers = min(os.cpu_count() or 1, MANY_WORKERS)

    if options.world_size == 0 or options.world_size < -1:
        parser.error(f"--world-size {options.world_size}: the number of nodes is at least 1")
    if options.world_size > 1 and not options.multiprocessing_distributed:
        parser.error("--world-size counts nodes; add --multiprocessing-distributed to start each node's processes")
    if options.world_size > 1 and not 0 <= options.rank < options.world_size:
        parser.error(
            f"--rank {options.rank}: with --world-size {options.world_size} it is 0 to {options.world_size - 1}"
        )
    if options.world_size <= 1 and options.rank > 0:
        parser.error(f"--rank {options.rank} needs --world-size, the number of nodes")
    if options.nproc_per_node and not options.multiprocessing_distributed:
        parser.error("--nproc-per-node goes with --multiprocessing-distributed")
    if options.gpu is not None and options.multiprocessing_distributed:
        parser.error("--gpu names one GPU; with --multiprocessing-distributed each process has its own")

    if options.world_size > 1 and options.dist_url == parser.get_default("dist_url"):
        options.notices.append(f"--dist-url {options.dist_url} is this machine; nodes elsewhere cannot reach it")

    options.run_name = _run_name(options)
    return options


def _run_name(options: argparse.Namespace) -> str:
    """What tells this run from others: its folder's name."""
    chunks = [f"aug{options.n_aug}", f"scale{options.n_scale}", f"dist{options.n_distortions}"]
    chunks.append("swap" if options.swap_crops else "noswap")
    parts = [
        options.method,
        options.arch,
        options.head,
        *(chunks if options.views == "quality" else ["content"]),
        f"patch{options.patch_size}",
        f"k{options.nce_k}",
        f"t{options.nce_t:g}",
        options.optimizer,
        f"lr{options.learning_rate:g}",
        f"bs{options.batch_size}",
        f"ep{options.epochs}",
        "cosine" if options.cosine else "steps",
    ]
    return "_".join(parts + ["warm"] * options.warm + ["amp"] * options.amp)
