"""Features on disk: how they are named, which image and encoder they are of, and writing them.

A folder holds ``feats_<kind>/<name>_<kind>_features.npy``, (1, n_features) float32 each, and beside them
``encoder.json``, which says how they are computed (encoder, pooling, precision), and a journal of the image files
(``Sources``). The name of features is the image's without its ending; with the ending, where another image has that
name already. Features without a line in the journal, as after copying files between folders, are computed again.
Folders of older versions have no journal; their features are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from common.atomic_files import check_writable, cut_name, whole_file
from datasets.images.lists import FileStamp, ListedImage, is_unchanged
from networks.errors import UserError
from networks.names import fingerprint_of, max_side_of, pooling_of, with_max_side

LONGEST_NAME = 200
"""Bytes of the last part of a name, of the 255 that file systems allow: kind and ending of the file follow it."""

_RECORDS_ALL = "images_recorded"
"""In encoder.json: the folder was begun by a version that records the image of all features."""


# Which content of which image features were computed from.


@dataclass(frozen=True)
class Source:
    """The image that features were computed from, its name with its ending, as it was at ``stamp``.

    ``written`` is the SHA-256 of the file of features; empty in the journals of older versions.
    """

    image: str
    stamp: FileStamp
    written: str


class Sources:
    """The journals of one kind of features: ``feats_<kind>/sources_<rank>.jsonl`` for each process of a job.

    A line is written before its file of features, in whose place nothing stands then: the features that are there
    belong to the last line of their name. It holds their digest, which decides between the lines of several processes,
    whatever their clocks say.
    """

    def __init__(self, folder: Path, rank: int = 0):
        self._path = folder / f"sources_{rank}.jsonl"
        self._sources: dict[str, list[Source]] = defaultdict(list)
        self._images: dict[str, str] = {}
        for path in sorted(folder.glob("sources_*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                # A line that a killed process has left incomplete: its features are computed again.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    content = json.loads(line)
                    size, mtime, ctime = (int(content[name]) for name in ("size", "mtime_ns", "ctime_ns"))
                    stamp = FileStamp(size, mtime, ctime, str(content["sha256"]))
                    source = Source(str(content["image"]), stamp, str(content.get("written", "")))
                    self._keep(str(content["features"]), source)

    def of(self, name: str, file: Path) -> Source | None:
        """The source of the features ``name``, which are in ``file``; None where it is not known.

        The file is read only where the name has features of several contents in the journals, such as those of two
        ranks, which do not say which are the later ones.
        """
        sources = self._sources.get(name, [])
        if len({(source.image, source.stamp.sha256) for source in sources}) > 1:
            written = hashlib.sha256(file.read_bytes()).hexdigest()
            sources = [source for source in sources if source.written == written]
        return sources[-1] if sources else None

    def image(self, name: str) -> str | None:
        """The image to which features of this name, or of one that some disks do not tell apart from it, belong."""
        return self._images.get(_folded(name))

    def add(self, name: str, source: Source) -> None:
        """Records the source of features; UserError where the journal cannot be written."""
        line = json.dumps({"features": name, "image": source.image, **asdict(source.stamp), "written": source.written})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Not kept open: Windows could not remove the folder then.
            with open(self._path, "ab", buffering=0) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from error
        self._keep(name, source)

    def _keep(self, name: str, source: Source) -> None:
        self._sources[name].append(source)
        self._images[_folded(name)] = source.image


def _folded(name: str) -> str:
    """A name in lower case and one Unicode form: equal for names that some disks do not tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


# How the features in a folder are computed.


def feature_file(output_dir: Path, kind: str, name: str) -> Path:
    """The file of an image's features of one kind."""
    return output_dir / f"feats_{kind}" / f"{name}_{kind}_features.npy"


def _read_claim(output_dir: Path, kind: str) -> dict:
    """The content of encoder.json; empty where there is none."""
    path = output_dir / f"feats_{kind}" / "encoder.json"
    try:
        claim = dict(json.loads(path.read_text(encoding="utf-8")))
        claim["fingerprint"] = str(claim["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove its folder and compute the features again") from None
    return claim


def read_encoder(output_dir: Path, kind: str) -> str | None:
    """Identity of the encoder that computed the features of ``kind`` in a folder; None where it is not known."""
    return _read_claim(output_dir, kind).get("fingerprint")


def check_settings(output_dir: Path, kind: str, identity: str, amp: bool) -> None:
    """UserError where a folder holds features of ``kind`` of another encoder, pooling, size of images or precision.

    Features without a record are of an unknown encoder, without --amp and --max_side.
    """
    claim, folder = _read_claim(output_dir, kind), output_dir / f"feats_{kind}"
    if not claim and not any(folder.rglob("*.npy")):
        return
    known = claim.get("fingerprint", with_max_side(identity, None))
    for held, asked in zip(_settings(known, bool(claim.get("amp"))), _settings(identity, amp), strict=True):
        if held != asked:
            raise UserError(  # of a fingerprint, the first digits
                f"{folder} holds features {held:.40}, not {asked:.40}; compute these in the same way, name another "
                "folder, or remove this one"
            )


def _settings(identity: str, amp: bool) -> list[str]:
    """How features are computed, for messages: encoder, pooling, size of images and precision."""
    return [
        f"of encoder {fingerprint_of(identity)}",
        f"with --pooling {pooling_of(identity)}",
        f"computed with {'--amp ' * amp}--max_side {max_side_of(identity) or 0}",
    ]


def claim_folder(output_dir: Path, kind: str, identity: str, amp: bool = False) -> None:
    """Records how the features of ``kind`` in a folder are computed, before the first is written.

    Raises UserError as ``check_settings`` does. Beside older features without a record, their encoder stays unknown.
    """
    check_settings(output_dir, kind, identity, amp)
    folder = output_dir / f"feats_{kind}"
    if not (folder / "encoder.json").exists():
        check_writable(folder)
        if not any(folder.rglob("*.npy")):
            with whole_file(folder / "encoder.json") as temporary:
                claim = {"fingerprint": identity, "amp": amp, _RECORDS_ALL: True}
                temporary.write_text(json.dumps(claim) + "\n", encoding="utf-8")


# Planning and writing.


@dataclass
class FeaturePlan:
    """What is to be done for a list of images: positions in it.

    ``fresh`` have features that are theirs, ``to_do`` have none or, for ``n_stale`` of these, features of another
    content of their file. ``names`` is image name -> name of its features.
    """

    names: dict[str, str]
    fresh: list[int] = field(default_factory=list)
    to_do: list[int] = field(default_factory=list)
    n_stale: int = 0


class FeatureFolder:
    """A folder in which the features of ``kinds`` are kept, for the process ``rank`` of a job."""

    def __init__(self, folder: Path, kinds: Sequence[str], rank: int = 0):
        self.folder = folder
        self.kinds = list(kinds)
        self._sources = {kind: Sources(folder / f"feats_{kind}", rank) for kind in kinds}

    def plan(self, images: Sequence[ListedImage], own: slice = slice(None), overwrite: bool = False) -> FeaturePlan:
        """Names the features of all ``images``, and sorts those of the slice ``own`` into fresh and to do.

        Raises UserError for two images whose names some disks do not tell apart.
        """
        plan = FeaturePlan(self.names(images))
        older = {kind for kind in self.kinds if not _read_claim(self.folder, kind).get(_RECORDS_ALL)}
        for position in range(len(images))[own]:
            image = images[position]
            stamps = None if overwrite else self._stamps(image, plan.names[image.name], older)
            is_fresh = stamps is not None and all(is_unchanged(image.path, stamp) for stamp in stamps)
            plan.n_stale += stamps is not None and not is_fresh
            (plan.fresh if is_fresh else plan.to_do).append(position)
        return plan

    def _stamps(self, image: ListedImage, name: str, older: set[str]) -> set[FileStamp] | None:
        """The recorded stamps of the file that the features ``name`` are of; none for features without any record.

        None where features of a kind are missing, or are another image's. ``older`` are the kinds whose folder an older
        version wrote: features without any record are kept there.
        """
        stamps = set()
        for kind in self.kinds:
            source = self.source(kind, name)
            if source is not None and source.image == image.name:
                stamps.add(source.stamp)
                continue
            unrecorded = source is None and kind in older and self._sources[kind].image(name) is None
            if not (unrecorded and feature_file(self.folder, kind, name).exists()):
                return None
        return stamps

    def source(self, kind: str, name: str) -> Source | None:
        """The source of the features that are there under this name; None where there are none, or it is not known.

        An empty file, as a power failure can leave one, holds none.
        """
        file = feature_file(self.folder, kind, name)
        try:
            return self._sources[kind].of(name, file) if file.stat().st_size else None
        except OSError:
            return None

    def names(self, images: Sequence[ListedImage]) -> dict[str, str]:
        """Image name -> name of its features: that of features of this image, or else a free one."""
        alike: dict[str, ListedImage] = {}
        for image in images:
            other = alike.setdefault(_folded(image.name), image)
            if other is not image:
                raise UserError(
                    f"images {other.path} and {image.path}: their names differ in upper and lower case or in Unicode "
                    "form alone, and some disks would keep one file of features for both; rename one of them"
                )
        stems = Counter(_folded(posixpath.splitext(image.name)[0]) for image in images)
        names: dict[str, str] = {}
        taken = set()
        for image in images:
            stem = posixpath.splitext(image.name)[0]
            short, full = _short_enough(stem), _short_enough(image.name)
            owners = {name: [one.image(name) for one in self._sources.values()] for name in (short, full)}
            own = [name for name, of_kinds in owners.items() if image.name in of_kinds]
            name = own[0] if own else short if not any(owners[short]) and stems[_folded(stem)] == 1 else full
            if _folded(name) in taken:  # x.png.jpg was alone first, and has the name x.png
                name = _short_enough(image.name, always=True)
            names[image.name] = name
            taken.add(_folded(name))
        return names

    def write(self, image: ListedImage, name: str, values: Mapping[str, np.ndarray], stamp: FileStamp) -> None:
        """Writes features of an image, kind -> (n_features,) float32, as (1, n_features) each, and their record."""
        for kind, features in values.items():
            content = io.BytesIO()  # on a full disk, numpy's own writer drops the end of an array without an error
            np.save(content, features[None], allow_pickle=False)
            file, digest = feature_file(self.folder, kind, name), hashlib.sha256(content.getvalue()).hexdigest()
            with contextlib.suppress(OSError):  # where it may not be removed, it cannot be written either
                file.unlink()
            self._sources[kind].add(name, Source(image.name, stamp, digest))
            with whole_file(file, durable=False) as temporary:
                temporary.write_bytes(content.getvalue())

    def read(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), features of all kinds side by side) float32, as ``FeatureFiles.read`` gives it."""
        of_kinds = [read_rows([feature_file(self.folder, kind, name) for name in names]) for kind in self.kinds]
        return np.concatenate(of_kinds, axis=1)


def _short_enough(name: str, always: bool = False) -> str:
    """The name, or one of its own that is short enough for a file system: its beginning and a digest."""
    folder, _, last = name.rpartition("/")
    if len(os.fsencode(last)) <= LONGEST_NAME and not always:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f"{folder}/{cut_name(last, LONGEST_NAME - 17)}~{digest}".lstrip("/")


def read_rows(paths: Sequence[Path]) -> np.ndarray:
    """(len(paths), n_features), as ``as_features`` gives them; UserError also for files of different lengths."""
    rows = np.empty((0, 0), np.float32)
    for index, path in enumerate(paths):
        row = read_row(path)
        if index == 0:
            rows = np.empty((len(paths), row.size), row.dtype)
        elif row.size != rows.shape[1]:
            raise UserError(
                f"features {path} have {row.size} values, and {paths[0]} has {rows.shape[1]}; they are of different "
                "encoders"
            )
        rows = rows.astype(np.promote_types(rows.dtype, row.dtype), copy=False)
        rows[index] = row
    return rows


def read_row(path: Path) -> np.ndarray:
    """(n_features,) from one file, as ``as_features`` gives them; UserError for a file that holds anything else."""
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy's readers raise any exception for a damaged file
        raise UserError(f"features {path} cannot be read: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in NUMBERS or values.size == 0:
        raise UserError(f"features {path} are not an array of numbers")
    return as_features(values.reshape(1, -1), f"features {path}")[0]


NUMBERS = "fiu"
"""The kinds of arrays, by numpy's letters, that can be features."""


def as_features(values: np.ndarray, where: str, names: Sequence[str] = ()) -> np.ndarray:
    """Features (n, p) of any type of ``NUMBERS`` as float32, or as float64 where float32 would cut digits of the type.

    Raises UserError, with ``where`` and the row's name, for one that is not finite or beyond the range of float32.
    """
    values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    largest = np.maximum(values.max(axis=1), -values.min(axis=1))
    limit = np.finfo(np.float32).max
    wrong = np.flatnonzero(~(largest <= limit))
    if wrong.size:
        row = wrong[0]
        reason = f"are as large as {largest[row]:g}; at most {limit:.2g} is possible, so divide all by one number"
        of_row = f" of {names[row]}" if names else ""
        raise UserError(f"{where}{of_row} {reason if np.isfinite(largest[row]) else 'are not finite'}")
    return values
