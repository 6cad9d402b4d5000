"""Readers under fire: mutated images, tables, checkpoints and regressors may be read or refused, and nothing else.

``make fuzz`` runs ``python -m tests.fuzz``: 20,000 images, 5,000 in rarer containers, 5,000 whose metadata alone is
changed and whose pixels must stay, 5,000 tables, 500 checkpoints and 500 regressors, or as many as ``--seconds`` allow.
A crash, a hang over 5 s, more than 1 GB of memory, or an exception that is not a UserError is counted; its input is
kept in ``--keep``; the exit status is 1.
"""

import argparse
import contextlib
import faulthandler
import functools
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from PIL import Image, PngImagePlugin

from datasets.opinions.scores import read_scores
from learning.regression.fit.search import fit
from learning.regression.model.description import Hyperparameters, RegressorDescription
from learning.regression.model.files import save_regressor
from networks.checkpoint_formats import read_checkpoint
from networks.errors import UserError
from networks.images.reading import read_image
from networks.opinion_mapping import IDENTITY
from networks.regressor import load_regressor
from tests.images import photograph

HANG_SECONDS = 5
MEMORY_BYTES = 2**30
FILES_PER_PROCESS = 250

Seeds = list[tuple[str, bytes]]


def image_seeds() -> Seeds:
    """(ending, content) of small images in every format and many modes."""
    rgb = Image.fromarray(photograph(40, 56))
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 256)
    frames = [rgb.rotate(angle) for angle in (10, 20)]
    animated = {"save_all": True, "append_images": frames}
    wanted = [
        (rgb, "jpg", {}),
        (rgb, "jpg", {"progressive": True, "exif": exif}),
        (rgb.convert("L"), "jpg", {}),
        (rgb.convert("CMYK"), "jpg", {}),
        (rgb, "png", {"exif": exif}),
        (rgba, "png", {}),
        (rgb.convert("P"), "png", {"transparency": 3}),
        (rgba.convert("LA"), "png", {}),
        (deep, "png", {}),
        (rgb.convert("1"), "png", {}),
        (rgb, "webp", {}),
        (rgba, "webp", {"lossless": True}),
        (rgb, "webp", animated),
        (rgb, "bmp", {}),
        (rgb.convert("P"), "bmp", {}),
        (rgb.convert("P"), "gif", {}),
        (rgb, "gif", animated),
        (rgb, "tiff", {}),
        (rgb, "tiff", {"compression": "tiff_lzw"}),
        (rgb, "tiff", {"compression": "tiff_adobe_deflate"}),
        (deep, "tiff", {}),
        (rgb, "tiff", {"compression": "jpeg"}),
    ]
    seeds = []
    for image, ending, options in wanted:
        buffer = io.BytesIO()
        image.save(buffer, {"jpg": "JPEG"}.get(ending, ending.upper()), **options)
        seeds.append((ending, buffer.getvalue()))
    return seeds


def container_seeds() -> Seeds:
    """(ending, content) of small images with EXIF, profiles and text, in rarer containers, and of more than 8 bits."""
    rgb = Image.fromarray(photograph(40, 56))
    grey = np.asarray(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker" * 20, 72.0
    exif.get_ifd(0x8769)[0x927C] = b"m" * 50
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 500, zip=True)
    text.add_itxt("c", "d" * 300, zip=True)
    about = {"exif": exif, "icc_profile": np.random.default_rng(0).bytes(400)}
    chosen = [
        (rgb, "PNG", {"pnginfo": text, **about}),
        (rgb, "JPEG", {"xmp": b"<x>" * 50, "comment": b"c" * 100, **about}),
        (rgb, "WEBP", {"xmp": b"<x>" * 50, **about}),
        (rgb, "TIFF", about),
        (rgb, "TIFF", {"compression": "tiff_lzw", **about}),
        (rgb, "AVIF", about),
        (rgb, "MPO", {"save_all": True, "append_images": [rgb]}),
        *((rgb, form, {}) for form in ("JPEG2000", "TGA", "QOI", "SGI", "PCX", "ICO", "DDS", "IM", "PPM", "DIB")),
        (Image.fromarray(grey.astype(np.float32) / 255), "TIFF", {}),
        (Image.fromarray(grey.astype(np.int32)), "TIFF", {}),
        (Image.fromarray(grey.astype(np.uint16) * 257), "PPM", {}),
        (Image.fromarray(grey), "TIFF", {"tiffinfo": {254: 1, 330: 8}}),
    ]
    seeds = []
    for image, form, options in chosen:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        seeds.append((form.lower(), buffer.getvalue()))
    return seeds


def checkpoint_seeds() -> Seeds:
    """Small checkpoints in every format that is told apart; shapes are not compared when one is read."""
    encoder = {"conv1.weight": torch.randn(4, 3, 3, 3), "bn1.num_batches_tracked": torch.tensor(3)}
    encoder |= {f"layer{stage}.0.conv1.weight": torch.randn(2, 2) for stage in (1, 2, 3, 4)}
    head = {"0.weight": torch.randn(4, 4), "0.bias": torch.randn(4)}
    ours = {f"module.encoder.{name}": value for name, value in encoder.items()}
    moco = {f"module.encoder_q.{name}": value for name, value in encoder.items()}
    contents = [
        {"model": ours, "epoch": 3, "opt": argparse.Namespace(lr=0.1)},
        {"state_dict": moco | {f"module.encoder_q.fc.{name}": value for name, value in head.items()}, "epoch": 1},
        encoder,
    ]
    seeds = []
    for zipped in (True, False):
        for content in contents:
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            seeds.append(("pth", buffer.getvalue()))
    return [*seeds, ("safetensors", safetensors.torch.save(encoder))]


def regressor_seeds() -> Seeds:
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for standardized in (True, False):
            path = Path(folder) / "r.skops"
            fitted = fit(features, features[:, 0], Hyperparameters("ridge", standardized, 1.0))
            save_regressor(path, fitted, RegressorDescription(("quality_aware",), {}, IDENTITY, (0.0, 1.0)))
            seeds += [(ending, path.with_suffix(f".{ending}").read_bytes()) for ending in ("safetensors", "json")]
    return seeds


def table_seeds() -> Seeds:
    """Tables in every form in which programs write them."""
    text = 'image,mos,group,split,std\n"a ""b"", c.png",3.5,g1,train,0.5\nd\\e.png,4, g2 ,test,1\n'
    spreadsheet = io.BytesIO()
    pd.read_csv(io.StringIO(text)).to_excel(spreadsheet, index=False)
    commas = text.replace(",", ";").replace(".5", ",5")
    return [
        ("csv", text.encode("utf-8-sig")),
        ("csv", text.encode("utf-16")),
        ("csv", text.replace(",", "\t").encode("utf-16-be")),
        ("csv", f"sep=;\r\n{commas}".encode()),
        ("csv", f"# exported\n{text}".encode()),
        ("csv.gz", gzip.compress(text.encode())),
        ("xlsx", spreadsheet.getvalue()),
    ]


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """A few changes of the kinds that break parsers: flipped bits, extreme numbers, moved and missing parts."""
    data = bytearray(content)
    for _ in range(rng.geometric(0.5)):
        size = len(data)
        if size == 0:
            break
        # A third of the changes hit the beginning, where the headers are.
        at = int(rng.integers(min(size, 100) if rng.random() < 0.33 else size))
        kind = rng.integers(7)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind == 2:
            extreme = (b"\x00", b"\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff\xff", b"\x00\x01\x00\x00")
            value = extreme[rng.integers(len(extreme))]
            data[at : at + len(value)] = value
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + int(rng.integers(1, 64))]
        elif kind == 5:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        else:
            other = int(rng.integers(size))
            data[at:at] = data[other : other + int(rng.integers(1, 256))]
    return bytes(data)


def metadata_seeds() -> Seeds:
    """(ending, content) of small images with EXIF, a colour profile and text, whose places ``METADATA`` tells."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = METADATA[0].decode()
    text = PngImagePlugin.PngInfo()
    text.add_text("text", METADATA[2].decode())
    about = {"exif": exif, "icc_profile": METADATA[1]}
    seeds = []
    for form, options in (
        ("JPEG", {"xmp": METADATA[2], "comment": METADATA[3]}),
        ("PNG", {"pnginfo": text}),
        ("WEBP", {"xmp": METADATA[2]}),
        ("WEBP", {"xmp": METADATA[2], "lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(photograph(40, 56)).save(buffer, form, **about, **options)
        seeds.append((form.lower(), buffer.getvalue()))
    return seeds


METADATA = (b"maker" * 20, np.random.default_rng(0).bytes(400), b"<x>" * 50, b"c" * 100)


def mutate_metadata(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes within the metadata and their lengths alone; the pixels' bytes stay."""
    start, end = 0, 0
    while start == end:
        blob = METADATA[rng.integers(len(METADATA))]
        start = content.find(blob)
        end = start + len(blob) if start >= 0 else start
        start = max(start, 0) if start >= 0 else end
    is_tiff = content[:4] in (b"II*\0", b"MM\0*")
    start -= 0 if is_tiff else 2 if content.startswith(b"\xff\xd8") else 8
    part = mutate(content[start:end], rng)
    if is_tiff:  # its pixels are found by their position
        part = part[: end - start].ljust(end - start, b"\0")
    return content[:start] + part + content[end:]


@functools.cache
def _metadata_pixels() -> list[np.ndarray]:
    """The images of ``metadata_seeds`` in every orientation."""
    with tempfile.TemporaryDirectory() as folder:
        turned = []
        for ending, content in metadata_seeds():
            path = Path(folder) / f"whole.{ending}"
            path.write_bytes(content)
            image = read_image(path)
            turned += [np.rot90(side, turns) for side in (image, image[:, ::-1]) for turns in range(4)]
        return turned


def read_mutated_metadata(path: Path) -> None:
    """A refusal, or the pixels; damaged metadata may lose or change the orientation."""
    image = read_image(path)
    assert any(np.array_equal(image, whole) for whole in _metadata_pixels()), "other pixels"


def mutate_table(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes within a compressed table as often as of the compression itself, whose checksum stops most of these."""
    if rng.random() < 0.5 or not content.startswith((b"PK", b"\x1f\x8b")):
        return mutate(content, rng)
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(mutate(gzip.decompress(content), rng))
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(packed, "w") as changed:
        names = whole.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            entry = whole.read(name)
            changed.writestr(name, mutate(entry, rng) if name == chosen else entry)
    return packed.getvalue()


def read_mutated_image(path: Path) -> None:
    # Below the scripts' limit, so that the limit on memory tells what is wasted from what a large image takes.
    image = read_image(path, max_pixels=50_000_000)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


def read_mutated_regressor(path: Path) -> None:
    """The half that was not mutated is made anew, and made to fit, so that the digest does not stop everything."""
    whole = dict(regressor_seeds()[:2])
    if path.suffix == ".json":
        path.with_suffix(".safetensors").write_bytes(whole["safetensors"])
    else:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_suffix(".json").write_text(json.dumps(json.loads(whole["json"]) | {"weights_sha256": digest}))
    load_regressor(path, RegressorDescription)


def read_mutated_table(path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        scores = read_scores(path)
    assert len(scores) and np.isfinite(scores.mos).all() and all(scores.images)


@dataclass(frozen=True)
class Target:
    """A kind of file: its seeds, its reader, the number of mutated files, and how they are mutated."""

    seeds: Callable[[], Seeds]
    read: Callable[[Path], object]
    n_files: int
    mutate: Callable[[bytes, np.random.Generator], bytes] = mutate


TARGETS = {
    "images": Target(image_seeds, read_mutated_image, 20_000),
    "containers": Target(container_seeds, read_mutated_image, 5_000),
    "metadata": Target(metadata_seeds, read_mutated_metadata, 5_000, mutate_metadata),
    "checkpoints": Target(checkpoint_seeds, read_checkpoint, 500),
    "regressors": Target(regressor_seeds, read_mutated_regressor, 500),
    "tables": Target(table_seeds, read_mutated_table, 5_000, mutate_table),
}


def _attack(target: str, seeds: Seeds, first: int, last: int, folder: Path, pipe, seed: int) -> None:
    """Reads mutated files ``first`` to ``last``; says each one's number before, and what became of it after."""
    kind = TARGETS[target]
    faulthandler.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # C libraries grumble
    for number in range(first, last):
        rng = np.random.default_rng((number, len(target), seed))
        ending, content = seeds[rng.integers(len(seeds))]
        path = folder / f"mutated.{ending}"
        path.write_bytes(kind.mutate(content, rng))
        pipe.send(("reading", number))
        signal.alarm(HANG_SECONDS)  # ends the process
        try:
            kind.read(path)
            outcome = "read"
        except UserError:
            outcome = "refused"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if grown > MEMORY_BYTES:
            outcome = f"took {grown / 2**30:.1f} GB"
            pipe.send(("done", outcome))
            return  # the peak never falls again
        pipe.send(("done", outcome))


def fuzz(target: str, n_files: int, seconds: float, keep: Path | None, seed: int = 0) -> Counter:
    """Outcome -> number of files, of ``n_files`` or as many as ``seconds`` allow; inputs that failed go to ``keep``."""
    seeds, outcomes, number = TARGETS[target].seeds(), Counter(), 0
    ends = time.monotonic() + seconds
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while number < n_files and time.monotonic() < ends:
            receiver, sender = context.Pipe(duplex=False)
            last = min(n_files, number + FILES_PER_PROCESS)
            process = context.Process(target=_attack, args=(target, seeds, number, last, folder, sender, seed))
            process.start()
            sender.close()
            outcome = None
            try:
                while True:
                    what, value = receiver.recv()
                    if what == "reading":
                        number, outcome = value + 1, None
                    else:
                        outcome = value
                        _count(outcome, outcomes, target, number - 1, folder, keep)
            except EOFError:
                process.join()
            if outcome is None:  # it ended while reading
                hung = process.exitcode == -signal.SIGALRM
                died = f"a hang of {HANG_SECONDS} s" if hung else f"a crash, status {process.exitcode}"
                _count(died, outcomes, target, number - 1, folder, keep)
    return outcomes


def _count(outcome: str, outcomes: Counter, target: str, number: int, folder: Path, keep: Path | None) -> None:
    outcomes[outcome] += 1
    if outcome not in ("read", "refused") and keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            (keep / f"{target}_{number}{path.suffix}").write_bytes(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the full numbers of files")
    parser.add_argument("--seconds", type=float, default=600, help="time for each kind of file")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_failures"), help="where inputs that failed are kept")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the changes")
    options = parser.parse_args()
    failed = 0
    for target, kind in TARGETS.items():
        outcomes = fuzz(target, int(kind.n_files * options.share), options.seconds, options.keep, options.seed)
        failed += sum(outcomes.values()) - outcomes["read"] - outcomes["refused"]
        counts = ", ".join(f"{count:,d} {outcome}" for outcome, count in outcomes.most_common())
        print(f"{target:12} {sum(outcomes.values()):,d}: {counts}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
