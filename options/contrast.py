"""Options of main_contrast.py: the command line as one frozen, typed configuration."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from common.machine import n_cores
from common.names import AUTO, FIXED, LOCAL_URL, NEGATIVES
from networks.errors import UserError
from networks.images.formats import MAX_PIXELS
from networks.names import ARCHITECTURES, HEADS
from options.builder import Computed, option, option_name, parse

METHODS = {"MoCo": ("linear", 0.07), "MoCov2": ("mlp", 0.2), "Customize": (None, None)}
"""The projection head and the temperature that a method prescribes; None: those of the command line."""

DEFAULT_HEAD, DEFAULT_TEMPERATURE = "linear", 0.07

fixed = partial(option, on_resume=FIXED)
recorded = partial(option, on_resume="the new value holds from here on")
"""Options that a checkpoint records. They shape its content, or can have a new value when the training is resumed."""

MAX_WORKERS = 40
WARM_UP_FROM_BATCH_SIZE = 257


def by_views(quality: float, content: float) -> Computed:
    """A default that depends on what the encoder learns. The content-aware ones are MoCo v2's for ImageNet."""
    return Computed(
        f"{quality}; {content} with --views content", lambda given: content if given.views == "content" else quality
    )


@dataclass(frozen=True)
class ContrastOptions:
    """Trains an image-quality encoder without labels, by momentum contrast (Re-IQA, CVPR 2023).

    ``given_*`` is the value on the command line. A method or a batch size may replace it: the property without the
    prefix is the value that is used.
    """

    csv_path: Path = option(
        Path("csv_files/moco_train.csv"),
        "CSV with a column Image_path (see csv_files/README.md), or tar shards: a tar file, 's/{{000..012}}.tar', "
        "'s/*.tar', a folder or a list",
        group="training images",
    )
    data_folder: Path | None = option(
        None, "train the content-aware encoder on the images of this folder (ImageNet, or any tree of folders)"
    )
    views: str = fixed(
        Computed("quality; content with --data_folder", lambda given: "content" if given.data_folder else "quality"),
        "what the encoder learns from the images", choices=("quality", "content"),
    )  # fmt: skip
    n_aug: int = recorded(7, "distorted versions per image", short="-n_aug", at_least=0)
    n_scale: int = recorded(1, "1: full scale; 2: half scale as well", short="-n_scale", choices=(1, 2))
    n_distortions: int = recorded(1, "2: one version in ten is distorted twice", short="-n_distortions", choices=(1, 2))
    patch_size: int = recorded(224, "side of a crop in pixels", short="-patch_size", at_least=32)
    swap_crops: int = recorded(
        1, "1: exchange query and key crop in half of the versions", short="-swap_crops", choices=(0, 1)
    )
    max_pixels: int = option(MAX_PIXELS, "refuse images with more pixels, as decompression bombs", at_least=1)
    max_bad: float = option(
        1.0, "stop when more than this percentage of the images is unreadable; until then, other images replace them",
        at_least=0, at_most=100,
    )  # fmt: skip
    num_workers: int = option(
        Computed(f"number of cores, at most {MAX_WORKERS}", lambda given: min(n_cores(), MAX_WORKERS)),
        "data workers per node, shared by its processes", short="-j", at_least=0,
    )  # fmt: skip

    method: str = fixed(
        "Customize",
        "MoCo: linear head, temperature 0.07; MoCov2: mlp head, temperature 0.2; Customize: --head and --nce_t",
        group="network and contrast", choices=tuple(METHODS),
    )  # fmt: skip
    arch: str = fixed("resnet50", "encoder", choices=ARCHITECTURES)
    init: Path | None = option(
        None, "start from the weights of this encoder, not from random ones", metavar="CHECKPOINT"
    )
    given_head: str | None = fixed(None, f"projection head (default: {DEFAULT_HEAD})", choices=HEADS)
    feat_dim: int = fixed(128, "size of an embedding", short="-d", at_least=1)
    nce_k: int = fixed(65536, "number of keys in the queue", short="-k", at_least=1)
    given_nce_t: float | None = recorded(None, f"temperature (default: {DEFAULT_TEMPERATURE})", short="-t", above=0)
    alpha: float = recorded(0.999, "momentum (EMA) of the key encoder", at_least=0, at_most=1)
    negatives: str = recorded(
        NEGATIVES[0],
        "queue: keys of earlier steps, as released; queue+batch: also the other keys of the step, which include those "
        "of other versions of the same image", choices=NEGATIVES, in_name="{}",
    )  # fmt: skip
    level_weight: float = recorded(
        0, "weight of a second loss, with which the encoder learns to recognise kinds and levels of distortions",
        at_least=0, in_name="levels{:g}",
    )  # fmt: skip

    epochs: int = recorded(by_views(30, 200), "passes over the images", group="optimisation", at_least=1)
    batch_size: int = option(
        by_views(60, 256), "images per step, over all processes", at_least=1,
        on_resume="the images of each step and the number of steps per epoch change",
    )  # fmt: skip
    optimizer: str = fixed("SGD", "optimiser", choices=("SGD", "AdamW", "LARS"))
    learning_rate: float = recorded(by_views(0.05, 0.03), "learning rate", above=0)
    cosine: bool = recorded(False, "cosine schedule instead of steps")
    schedule: str = recorded(
        "epoch", "how often the cosine moves; with epoch, as released, the last epoch has the lowest rate throughout",
        choices=("epoch", "step"),
    )  # fmt: skip
    given_warm: bool = recorded(
        False, f"warm-up over 5 epochs (always on for a batch_size of {WARM_UP_FROM_BATCH_SIZE} or more)",
        in_name="warm",
    )  # fmt: skip
    lr_decay_epochs: tuple[int, ...] = recorded((120, 160), "epochs after which the rate decays")
    lr_decay_rate: float = recorded(0.1, "factor of each decay", at_least=0)
    weight_decay: float = recorded(1e-4, "weight decay", at_least=0)
    momentum: float = recorded(0.9, "momentum of SGD and LARS", at_least=0)
    amp: bool = recorded(False, "mixed precision (bfloat16, or float16 on GPUs without it)", in_name="amp")
    seed: int = option(
        0, "random seed for weights, queue, crops and distortions", at_least=0,
        on_resume="the order of the images, their crops and their distortions change",
    )  # fmt: skip

    model_path: Path = option(Path("test"), "root folder for checkpoints; each run gets a subfolder", group="output")
    tb_path: Path = option(Path("test"), "root folder for TensorBoard logs; each run gets a subfolder")
    print_freq: int = option(10, "steps between two progress lines", at_least=1)
    save_freq: int = option(1, "epochs between two checkpoints that are kept", at_least=1)
    save_steps: int | None = option(None, "steps between two checkpoints within an epoch (default: none)", at_least=1)
    keep: int | None = option(None, "number of newest ckpt_epoch_N.pth files to keep (default: all)", at_least=1)
    resume: str | None = option(
        None, f"continue from this checkpoint; {AUTO}: from the newest valid one of this run, if there is one",
        metavar=f"CHECKPOINT|{AUTO}",
    )  # fmt: skip

    probe: Path | None = option(
        None,
        "measure the encoder while it trains, on photographs with opinion scores (columns image and mos), and keep the "
        "best one as best.pth",
        group="probe", metavar="SCORES.csv",
    )  # fmt: skip
    probe_every: int | None = option(
        None, "steps between two measurements (default: ten measurements in a run)", at_least=1
    )

    multiprocessing_distributed: bool = option(
        False, "start this node's processes: one per GPU, or --nproc-per-node", flag="--multiprocessing-distributed",
        group="machines",
    )  # fmt: skip
    world_size: int = option(-1, "number of nodes", flag="--world-size")
    rank: int = option(-1, "number of this node, from 0")
    nproc_per_node: int | None = option(
        None, "processes on this node (default: its number of GPUs)", flag="--nproc-per-node", at_least=1
    )
    dist_url: str = option(LOCAL_URL, "address at which node 0 listens, the same on all nodes", flag="--dist-url")
    join_timeout: float = option(
        600, "seconds to wait for the other nodes or processes at the start", flag="--join-timeout", above=0
    )
    bf16_gradients: bool = recorded(
        False, "average the gradients of all processes in bfloat16: half the bytes on a slow network, less exact"
    )
    dist_backend: str | None = option(
        None, "backend of torch.distributed (default: nccl with GPUs, gloo without)", flag="--dist-backend",
        choices=("nccl", "gloo"),
    )  # fmt: skip
    gpu: int | None = option(None, "train on this GPU alone", at_least=0)

    def __post_init__(self) -> None:
        if self.data_folder and self.views == "quality":
            raise UserError(
                "--data_folder is for --views content; list the images of a folder in a CSV for --views quality"
            )
        if self.init and self.resume not in (None, AUTO):
            raise UserError("--init starts a training and --resume CHECKPOINT continues one; give one of them")
        if self.level_weight and self.views == "content":
            raise UserError("--level_weight is for --views quality: content-aware crops are not distorted")
        if self.probe_every and not self.probe:
            raise UserError("--probe_every goes with --probe")
        if self.schedule == "step" and not self.cosine:
            raise UserError("--schedule step moves the cosine; add --cosine")
        if self.world_size == 0 or self.world_size < -1:
            raise UserError(f"--world-size {self.world_size}: the number of nodes is at least 1")
        if self.world_size > 1 and not self.multiprocessing_distributed:
            raise UserError(
                "--world-size counts nodes; add --multiprocessing-distributed to start each node's processes"
            )
        if self.world_size > 1 and not 0 <= self.rank < self.world_size:
            raise UserError(f"--rank {self.rank}: with --world-size {self.world_size} it is 0 to {self.world_size - 1}")
        if self.world_size <= 1 and self.rank > 0:
            raise UserError(f"--rank {self.rank} needs --world-size, the number of nodes")
        if self.nproc_per_node and not self.multiprocessing_distributed:
            raise UserError("--nproc-per-node goes with --multiprocessing-distributed")
        if self.gpu is not None and self.multiprocessing_distributed:
            raise UserError("--gpu names one GPU; with --multiprocessing-distributed each process has its own")

    def check_batch_size(self, n_processes: int) -> None:
        """Raises UserError for a batch that cannot be divided among the processes, or is too small for BatchNorm."""
        if self.batch_size % n_processes:
            raise UserError(
                f"--batch_size {self.batch_size} images do not divide over {n_processes} processes; "
                f"give a multiple of {n_processes}"
            )
        pairs_per_image = self.n_scale * (self.n_aug + 1) if self.views == "quality" else 1
        if self.batch_size // n_processes * pairs_per_image < 2:
            raise UserError(
                "each process has one crop per step, and BatchNorm needs two: raise --batch_size or --n_aug"
            )

    @property
    def head(self) -> str:
        return METHODS[self.method][0] or self.given_head or DEFAULT_HEAD

    @property
    def nce_t(self) -> float:
        return METHODS[self.method][1] or self.given_nce_t or DEFAULT_TEMPERATURE

    @property
    def warm(self) -> bool:
        """Whether the learning rate warms up: on request, and always for large batches."""
        return self.given_warm or self.batch_size >= WARM_UP_FROM_BATCH_SIZE

    @property
    def run_name(self) -> str:
        """The name of this run's folder, below ``model_path`` and ``tb_path``; options with ``in_name`` come last."""
        swap = "swap" if self.swap_crops else "noswap"
        chunk = f"aug{self.n_aug}_scale{self.n_scale}_dist{self.n_distortions}_{swap}"
        schedule = ("cosine" if self.cosine else "steps") + "_bystep" * (self.schedule == "step")
        name = (
            f"{self.method}_{self.arch}_{self.head}_{chunk if self.views == 'quality' else 'content'}"
            f"_patch{self.patch_size}_k{self.nce_k}_t{self.nce_t:g}_{self.optimizer}_lr{self.learning_rate:g}"
            f"_bs{self.batch_size}_ep{self.epochs}_{schedule}"
        )
        for declared in fields(self):
            value, form = getattr(self, option_name(declared)), declared.metadata["in_name"]
            if form and value != declared.default:
                name += "_" + form.format(value)
        return name

    @property
    def notices(self) -> list[str]:
        """Messages about options that the program replaces, and about settings that are rarely intended."""
        notices = [
            f"--method {self.method} sets --{name} {value} and ignores --{name} {given}; "
            "--method Customize uses the given value"
            for name, given, value in (("head", self.given_head, self.head), ("nce_t", self.given_nce_t, self.nce_t))
            if given not in (None, value)
        ]
        if self.cosine and self.schedule == "epoch" and self.epochs == 1:
            notices.append("--cosine with --epochs 1 trains at the schedule's last and lowest learning rate throughout")
        if self.world_size > 1 and self.dist_url == LOCAL_URL:
            notices.append(f"--dist-url {self.dist_url} is this machine; other nodes cannot reach it")
        return notices

    @property
    def in_use(self) -> dict[str, Any]:
        """Option -> the value that is used, for the record of a run."""
        return {option_name(one): getattr(self, option_name(one)) for one in fields(self)}

    @classmethod
    def on_resume(cls) -> dict[str, str]:
        """Option -> what a new value means when a training is resumed, for the options that a checkpoint records."""
        return {option_name(one): one.metadata["on_resume"] for one in fields(cls) if one.metadata["on_resume"]}


parse_contrast_options = partial(parse, ContrastOptions, "main_contrast.py")
