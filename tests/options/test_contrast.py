"""Options of main_contrast.py: the published commands, their defaults, and a sentence for each mistake."""

import shlex
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from common.names import FIXED
from learning.contrastive.resume import describe_run, find_differences
from learning.contrastive.training_state import Position, Saved
from learning.distributed.environment import ProcessContext
from options.contrast import ContrastOptions, parse_contrast_options

PUBLISHED = """--method MoCov2 --cosine --head mlp --multiprocessing-distributed --csv_path ./csv_files/moco_train.csv
    --model_path ./expt0 --optimizer LARS --tb_path ./expt0 -j 28 --batch_size 630 --learning_rate 12 --n_aug 11
    --epochs 40 --n_scale 2 --n_distortions 1 --patch_size 160 --world-size 6 --warm --swap_crops 1
    --dist-url tcp://10.0.0.1:23456 --rank 0"""


def test_the_published_command():
    options = parse_contrast_options(shlex.split(PUBLISHED))
    assert (options.method, options.head, options.nce_t, options.optimizer) == ("MoCov2", "mlp", 0.2, "LARS")
    assert (options.batch_size, options.learning_rate, options.num_workers, options.epochs) == (630, 12, 28, 40)
    assert (options.world_size, options.rank, options.warm, options.notices) == (6, 0, True, [])


def test_defaults():
    options = parse_contrast_options([])
    expected = {
        "model_path": Path("./test"), "tb_path": Path("./test"), "print_freq": 10, "save_freq": 1,
        "batch_size": 60, "n_aug": 7, "n_scale": 1, "n_distortions": 1, "patch_size": 224, "swap_crops": 1,
        "epochs": 30, "learning_rate": 0.05,
        "lr_decay_epochs": (120, 160), "lr_decay_rate": 0.1, "weight_decay": 1e-4, "momentum": 0.9, "cosine": False,
        "optimizer": "SGD", "arch": "resnet50", "feat_dim": 128, "nce_k": 65536, "nce_t": 0.07, "alpha": 0.999,
        "resume": None, "world_size": -1, "rank": -1, "dist_url": "tcp://127.0.0.1:23456", "warm": False, "amp": False,
        "gpu": None, "multiprocessing_distributed": False, "negatives": "queue", "level_weight": 0, "schedule": "epoch",
    }  # fmt: skip
    assert {name: getattr(options, name) for name in expected} == expected


def test_help_shows_defaults_as_they_are_typed(capsys):
    with pytest.raises(SystemExit):
        parse_contrast_options(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "distortions (default: 0)" in shown and "rate decays (default: 120,160)" in shown
    assert "(default: 60; 256 with --views content)" in shown and "(default: )" not in shown


def test_options_are_frozen():
    with pytest.raises(FrozenInstanceError):
        parse_contrast_options([]).batch_size = 3


def test_one_dash_spellings():
    options = parse_contrast_options(
        shlex.split("-n_aug 3 -n_scale 2 -n_distortions 2 -patch_size 64 -swap_crops 0 -j 2 -d 64 -k 128 -t 0.1")
    )
    assert (options.n_aug, options.n_scale, options.n_distortions, options.patch_size, options.swap_crops) == (
        3,
        2,
        2,
        64,
        0,
    )
    assert (options.num_workers, options.feat_dim, options.nce_k, options.nce_t) == (2, 64, 128, 0.1)


@pytest.mark.parametrize(
    "method, head, temperature", [("MoCo", "linear", 0.07), ("MoCov2", "mlp", 0.2), ("Customize", "mlp", 0.5)]
)
def test_a_method_sets_head_and_temperature(method, head, temperature):
    options = parse_contrast_options(["--method", method, "--head", "mlp", "--nce_t", "0.5"])
    assert (options.head, options.nce_t) == (head, temperature)
    assert bool(options.notices) == (method != "Customize")


def test_content_has_defaults_of_its_own_and_a_given_option_wins():
    options = parse_contrast_options(shlex.split("--method MoCov2 --cosine --data_folder /imagenet"))
    assert (options.views, options.batch_size, options.learning_rate, options.epochs) == ("content", 256, 0.03, 200)
    assert (options.patch_size, options.nce_k, options.alpha, options.warm) == (224, 65536, 0.999, False)
    options = parse_contrast_options(shlex.split("--views content --csv_path a.csv --batch_size 60 --epochs 30"))
    assert (options.views, options.batch_size, options.learning_rate, options.epochs) == ("content", 60, 0.03, 30)
    assert "content" in options.run_name and "aug" not in options.run_name
    assert parse_contrast_options([]).views == "quality"


def test_a_large_batch_warms_up_by_itself():
    assert not parse_contrast_options(["--batch_size", "256"]).warm
    assert parse_contrast_options(["--batch_size", "257"]).warm


def test_runs_with_different_options_have_different_folders():
    names = [
        parse_contrast_options(shlex.split(text)).run_name
        for text in (
            "",
            "--n_aug 3",
            "--cosine",
            "--amp",
            "--method MoCov2",
            "--learning_rate 0.1",
            "--batch_size 300",
            "--cosine --schedule step",
            "--negatives queue+batch",
            "--level_weight 1",
        )
    ]
    assert len(set(names)) == len(names)


def test_a_checkpoint_records_the_options_that_it_depends_on():
    """Names as they stand in checkpoints of earlier versions; that of an option that is gone changes nothing."""
    fixed = ["views", "method", "arch", "head", "feat_dim", "nce_k", "optimizer"]
    free = {
        "batch_size", "seed", "n_aug", "n_scale", "n_distortions", "patch_size", "swap_crops", "negatives", "nce_t",
        "alpha", "epochs", "learning_rate", "lr_decay_epochs", "lr_decay_rate", "cosine", "schedule", "warm",
        "weight_decay", "momentum", "amp", "level_weight", "bf16_gradients",
    }  # fmt: skip
    effects = ContrastOptions.on_resume()
    assert [name for name, effect in effects.items() if effect == FIXED] == fixed
    assert effects.keys() == {*fixed} | free
    run = describe_run(parse_contrast_options([]), ProcessContext(), np.array([b"a.png", b"b.png"]))
    assert find_differences(Saved(Path("c.pth"), {"run": run | {"compile": True}}, Position()), run) == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("--n_aug -1", "'-1' is not a whole number, at least 0"),
        ("--batch_size 0", "'0' is not a whole number, at least 1"),
        ("--learning_rate fast", "'fast' is not a number, more than 0"),
        ("--learning_rate nan", "'nan' is not a number"),
        ("--lr_decay_epochs 1,x", "'1,x' is not a list of numbers"),
        ("--world-size 6", "--multiprocessing-distributed"),
        ("--world-size 6 --multiprocessing-distributed --rank 6", "--rank 6: with --world-size 6 it is 0 to 5"),
        ("--world-size 0", "at least 1"),
        ("--rank 1", "--rank 1 needs --world-size"),
        ("--nproc-per-node 2", "--nproc-per-node goes with"),
        ("--gpu 0 --multiprocessing-distributed", "--gpu names one GPU"),
        ("--data_folder a --views quality", "--data_folder is for --views content"),
        ("--init a.pth --resume b.pth", "give one of them"),
        ("--optimizer Adam", "invalid choice: 'Adam'"),
        ("--frobnicate", "unrecognized arguments: --frobnicate"),
    ],
)
def test_mistakes_get_a_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_contrast_options(shlex.split(arguments))
    message = capsys.readouterr().err
    assert caught.value.code == 2 and said in message and message.count("\n") == 1
