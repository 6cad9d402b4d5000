"""Features on disk: writing them, reading those of scored images, and which encoder they are of.

A folder holds ``feats_<kind>/<name>_<kind>_features.npy``, (1, n_features) float32 each, and beside them
``encoder.json``, the fingerprint of the encoder, and a journal of the image files (``datasets.features.sources``). The
name of features is the image's without its ending; with the ending, where another image has that name already, or one
that differs in the case of letters only. Features without a record in the journal, as after copying files between
folders, are computed again. Folders of older versions have no journal; their features are kept.

A single file (.npz) holds ``names`` (n,), for each kind an (n, n_features) array and its ``<kind>_encoder``, and of the
image files ``size`` (bytes), ``mtime_ns`` and ``sha256``, (n,) each.

Features of another program are read from a table (.csv) with a column ``image`` and a column for each feature, or from
a single file with ``names`` (n,) and ``features`` (n, n_features).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from common.atomic_files import check_writable, cut_name, whole_file, write_array
from common.errors import UserError
from common.names import GIVEN, KINDS, differ_in_pooling, pooling_of, short_identity
from datasets.features.sources import SourceRecord, SourceRecords, folded
from datasets.features.stamps import FileStamp, quick_stamp, stamp_file
from datasets.images.lists import PATH_COLUMNS, ListedImage, match_names
from datasets.images.reading import open_image_file
from datasets.opinions.tables import read_csv

LONGEST_NAME = 200
"""Bytes of the last part of a name, of the 255 that file systems allow: kind and ending of the file follow it."""

_ENCODER = "encoder.json"
_RECORDS_ALL = "images_recorded"

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx")
"""Endings of tables with features of another program."""

_FEATURES = "features"
"""The array of a single file (.npz) that holds features of another program."""


# Where features are kept, and which encoder they are of.


def feature_file(output_dir: Path, kind: str, name: str) -> Path:
    """The file of an image's features of one kind."""
    return output_dir / f"feats_{kind}" / f"{name}_{kind}_features.npy"


def has_features(output_dir: Path, kinds: Iterable[str], name: str) -> bool:
    """Whether the folder holds an image's features of all ``kinds``."""
    # os.path accepts names that are too long for the file system; pathlib raises.
    return all(os.path.exists(feature_file(output_dir, kind, name)) for kind in kinds)  # noqa: PTH110


def read_encoder(output_dir: Path, kind: str) -> str | None:
    """Fingerprint of the encoder that computed the features of ``kind`` in a folder; None where it is not known."""
    path = output_dir / f"feats_{kind}" / _ENCODER
    try:
        return str(_read_claim(path)["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove its folder and compute the features again") from None


def _read_claim(path: Path) -> dict:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _records_all(output_dir: Path, kind: str) -> bool:
    """Whether the folder was begun by a version that records the image of all features."""
    try:
        return bool(_read_claim(output_dir / f"feats_{kind}" / _ENCODER).get(_RECORDS_ALL))
    except (OSError, ValueError, TypeError):
        return False


def claim_folder(output_dir: Path, kind: str, fingerprint: str) -> None:
    """Records the encoder whose features of ``kind`` a folder holds, before the first is written.

    Raises UserError where the folder holds features of a different encoder: the two would be mixed.
    """
    path = output_dir / f"feats_{kind}" / _ENCODER
    known = read_encoder(output_dir, kind)
    if known == fingerprint:
        return
    if known is not None and differ_in_pooling(known, fingerprint):
        raise UserError(
            f"{path.parent} holds features with --pooling {pooling_of(known)}, not {pooling_of(fingerprint)}; name "
            "another folder, or remove this one"
        )
    if known is not None:
        raise UserError(
            f"{path.parent} holds features of another encoder ({short_identity(known)}, and this one is "
            f"{short_identity(fingerprint)}); name another folder, or remove this one"
        )
    check_writable(path.parent)
    if any(path.parent.rglob("*.npy")):
        return  # Older features without a record of their encoder: it stays unknown.
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"fingerprint": fingerprint, _RECORDS_ALL: True}) + "\n", encoding="utf-8")


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
        self._records = {kind: SourceRecords(folder / f"feats_{kind}", rank) for kind in kinds}

    def plan(self, images: Sequence[ListedImage], own: slice = slice(None), overwrite: bool = False) -> FeaturePlan:
        """Names the features of all ``images``, and sorts those of the slice ``own`` into fresh and to do."""
        plan = FeaturePlan(self.names(images))
        older = {kind for kind in self.kinds if not _records_all(self.folder, kind)}
        for position in range(len(images))[own]:
            image = images[position]
            name = plan.names[image.name]
            recorded = all(kind in older or self._records[kind].get(name) for kind in self.kinds)
            if overwrite or not recorded or not has_features(self.folder, self.kinds, name):
                plan.to_do.append(position)
            elif self._is_fresh(image, name):
                plan.fresh.append(position)
            else:
                plan.to_do.append(position)
                plan.n_stale += 1
        return plan

    def names(self, images: Sequence[ListedImage]) -> dict[str, str]:
        """Image name -> name of its features: that of features of this image, or else a free one."""
        stems = Counter(folded(_stem(image.name)) for image in images)
        names: dict[str, str] = {}
        taken: set[str] = set()
        folded_taken: set[str] = set()
        for image in images:
            stem, full = _stem(image.name), image.name
            candidates = [_shortened(name) for name in (stem, full)] + [_shortened(full, always=True)]
            own = (name for name in candidates if self._owner_is(name, image.name) and not self._is_shared(name))
            several = stems[folded(stem)] > 1
            free = (name for name in candidates[several:] if self._is_free(name, image.name))
            possible = chain(
                (name for name in own if name not in taken), (name for name in free if folded(name) not in folded_taken)
            )
            name = next(possible, candidates[-1])
            names[image.name] = name
            taken.add(name)
            folded_taken.add(folded(name))
        return names

    def _is_free(self, name: str, image: str) -> bool:
        """Whether no image but ``image`` has features of this name, or of one that a disk may not tell apart."""
        alike = (record for kind in self.kinds for record in self._records[kind].alike(name))
        return self._owner_is(name, None, image) and all(record.image == image for record in alike)

    def _is_shared(self, name: str) -> bool:
        """Whether features of another name are in the same file, as on disks that do not tell A from a."""
        for kind in self.kinds:
            path = feature_file(self.folder, kind, name)
            for record in self._records[kind].alike(name):
                with contextlib.suppress(OSError):
                    if path.samefile(feature_file(self.folder, kind, record.features)):
                        return True
        return False

    def _owner_is(self, name: str, *owners: str | None) -> bool:
        """Whether the recorded image of these features, None where there is no record, is one of ``owners``."""
        records = [self._records[kind].get(name) for kind in self.kinds]
        return all((record.image if record else None) in owners for record in records)

    def _is_fresh(self, image: ListedImage, name: str) -> bool:
        """Whether the features were computed from the content that the file has now; true where nothing is known."""
        stamp: FileStamp | None = None
        for kind in self.kinds:
            record = self._records[kind].get(name)
            quick = quick_stamp(image.path)
            if record is None or quick is None or (quick == record.stamp.quick and record.is_settled):
                continue
            if stamp is None:
                try:
                    with open_image_file(image.path) as file:
                        stamp = stamp_file(file)
                except UserError:
                    return False  # to be reported when it is read
            if stamp.sha256 != record.stamp.sha256:
                return False
            record = SourceRecord(name, image.name, stamp, time.time_ns())
            if record.is_settled:
                with contextlib.suppress(UserError):  # the next time is faster where the folder can be written
                    self._records[kind].add(record)
        return True

    def write(self, image: ListedImage, name: str, values: Mapping[str, np.ndarray], stamp: FileStamp) -> None:
        """Writes features of an image, kind -> (n_features,) float32, as (1, n_features) each, and their record."""
        for kind, features in values.items():
            path = feature_file(self.folder, kind, name)
            # In this order, a process that is killed leaves no features with the record of others.
            with contextlib.suppress(OSError):
                path.unlink()
            self._records[kind].add(SourceRecord(name, image.name, stamp))
            write_array(path, features[None], durable=False)

    def read(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), features of all kinds side by side) float32, as ``FeatureFiles.read`` gives it."""
        of_kinds = [_read_rows([feature_file(self.folder, kind, name) for name in names]) for kind in self.kinds]
        return np.concatenate(of_kinds, axis=1)

    def stamp(self, name: str) -> FileStamp | None:
        """The stamp of the file that features were computed from, where it is recorded."""
        record = self._records[self.kinds[0]].get(name)
        return record.stamp if record else None


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def _shortened(name: str, always: bool = False) -> str:
    """The name, or one of its own that is short enough for a file system: its beginning and a digest."""
    folder, _, last = name.rpartition("/")
    encoded = os.fsencode(last)
    if len(encoded) <= LONGEST_NAME and not always:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    beginning = cut_name(last, LONGEST_NAME - 17)
    return f"{folder}/{beginning}~{digest}".lstrip("/")


def write_single_file(target: Path, features: FeatureFolder, images: Sequence[ListedImage]) -> int:
    """Moves the features of ``images`` into one .npz, row by row, and returns the number of rows.

    Images without features are left out, and the folder is removed. Memory does not grow with the number of rows.
    Raises UserError where no image has features.
    """
    folder, names = features.folder, features.names(images)
    complete = [image for image, name in names.items() if has_features(folder, features.kinds, name)]
    if not complete:
        raise UserError(f"{target} was not written: no image gave features")
    stamps = [features.stamp(names[image]) for image in complete]
    with whole_file(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        _write_array(archive, "names", np.array(complete))
        _write_array(archive, "size", np.array([stamp.quick.size if stamp else -1 for stamp in stamps]))
        _write_array(archive, "mtime_ns", np.array([stamp.quick.mtime_ns if stamp else -1 for stamp in stamps]))
        _write_array(archive, "sha256", np.array([stamp.sha256 if stamp else "" for stamp in stamps]))
        for kind in features.kinds:
            _write_rows(archive, kind, [feature_file(folder, kind, names[image]) for image in complete])
            encoder = read_encoder(folder, kind)
            if encoder:
                _write_array(archive, single_file_encoder(kind), np.array(encoder))
    shutil.rmtree(folder)
    return len(complete)


def single_file_encoder(kind: str) -> str:
    """The name, in a single file, of the array with the encoder's fingerprint."""
    return f"{kind}_encoder"


def _write_array(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w") as entry:
        np.lib.format.write_array(entry, values, allow_pickle=False)


def _write_rows(archive: zipfile.ZipFile, kind: str, paths: Sequence[Path]) -> None:
    # By hand, since numpy.savez needs all rows in memory.
    n_features = _read_row(paths[0]).size
    with archive.open(f"{kind}.npy", "w", force_zip64=True) as entry:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(paths), n_features)}
        np.lib.format.write_array_header_2_0(entry, header)
        for path in paths:
            entry.write(_read_row(path).astype("<f4", copy=False).tobytes())


# Reading.


class FeatureFiles:
    """The features in a folder or a single file: of ``kinds``, or of the kinds that it holds.

    ``names`` are those of the images that have features of every kind; ``encoders`` is kind -> fingerprint or None.
    Raises UserError where there are none.
    """

    def __init__(self, source: str | os.PathLike, kinds: Sequence[str] | None = None):
        self.source = Path(source)
        self._files: _Folder | _SingleFile | _Table
        if self.source.is_dir():
            self._files = _Folder(self.source)
        elif self.source.is_file() and self.source.suffix.lower() in TABLE_ENDINGS:
            self._files = _Table(self.source)
        elif self.source.is_file():
            self._files = _SingleFile(self.source)
        else:
            raise UserError(f"features {self.source} do not exist")
        self.kinds = [kind for kind in (*KINDS, GIVEN) if kind in (kinds or self._files.kinds)]
        missing = [kind for kind in self.kinds if kind not in self._files.kinds]
        if missing or not self.kinds:
            raise UserError(
                f"features {self.source}: no {' or '.join(missing or KINDS)} features there; "
                "demo_quality_aware_feats.py and demo_content_aware_feats.py write them"
            )
        self.names = self._files.names(self.kinds)
        if not self.names:
            raise UserError(f"features {self.source}: no image has {' and '.join(self.kinds)} features there")
        self.encoders = {kind: self._files.encoder(kind) for kind in self.kinds}

    def match(self, images: Sequence[str]) -> dict[str, str]:
        """Image, as a table calls it -> the name of its features, for those that have any."""
        return match_names(images, self.names, f"features {self.source}")

    def read(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), features of all kinds side by side) float32, in the order of ``names``.

        Raises UserError, with the file, for features that are damaged, not finite, or of different lengths.
        """
        return np.concatenate([self._files.rows(kind, names) for kind in self.kinds], axis=1)

    def file_digests(self, names: Sequence[str]) -> list[str | None]:
        """SHA-256 of the image files from which the features of ``names`` were computed; None where not recorded."""
        return self._files.file_digests(self.kinds[0], names)


class _Folder:
    """Features in a folder, one file for each image and kind."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._features: dict[str, dict[str, str]] = {}
        self._digests: dict[str, dict[str, str]] = {}
        self.kinds = [kind for kind in KINDS if (folder / f"feats_{kind}").is_dir()]

    def names(self, kinds: Sequence[str]) -> list[str]:
        """The images that have features of all ``kinds``, sorted; with their endings, where these are recorded."""
        self._features = {kind: self._features_of_kind(kind) for kind in kinds}
        return sorted(set.intersection(*(set(of_kind) for of_kind in self._features.values())))

    def _features_of_kind(self, kind: str) -> dict[str, str]:
        """Image name -> name of its features."""
        root, ending = self._folder / f"feats_{kind}", f"_{kind}_features.npy"
        found = (Path(parent, file) for parent, _, files in os.walk(root) for file in files if file.endswith(ending))
        features = sorted(path.relative_to(root).as_posix().removesuffix(ending) for path in found)
        records = SourceRecords(root)
        recorded = {name: record for name in features if (record := records.get(name))}
        self._digests[kind] = {record.image: record.stamp.sha256 for record in recorded.values()}
        return {(recorded[name].image if name in recorded else name): name for name in features}

    def file_digests(self, kind: str, names: Sequence[str]) -> list[str | None]:
        return [self._digests[kind].get(name) for name in names]

    def encoder(self, kind: str) -> str | None:
        return read_encoder(self._folder, kind)

    def rows(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """(len(names), n_features) float32; UserError where lengths differ."""
        return _read_rows([feature_file(self._folder, kind, self._features[kind][name]) for name in names])


class _SingleFile:
    """Features in one .npz, a row for each image."""

    def __init__(self, path: Path):
        self._path = path
        self._read: dict[str, np.ndarray] = {}
        self._rows: dict[str, int] = {}
        try:
            self._archive = np.load(path, allow_pickle=False)
            self.kinds = [kind for kind in KINDS if kind in self._archive]
            self._arrays = {kind: kind for kind in self.kinds}
            if not self.kinds and _FEATURES in self._archive:
                self.kinds, self._arrays = [GIVEN], {GIVEN: _FEATURES}
        except Exception as error:  # numpy's readers raise any exception for a damaged file
            raise UserError(f"features {path} cannot be read: {error}") from None

    def names(self, kinds: Sequence[str]) -> list[str]:
        """The images in the file."""
        names = self._array("names")
        if names.ndim != 1 or names.dtype.kind != "U":
            raise UserError(f"features {self._path}: array 'names' is not a list of names")
        self._rows = {name: row for row, name in enumerate(names.tolist())}
        return list(self._rows)

    def encoder(self, kind: str) -> str | None:
        name = single_file_encoder(kind)
        return str(self._array(name)) if name in self._archive else None

    def rows(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """(len(names), n_features) float32; UserError where the array does not fit the names."""
        everything = self._array(self._arrays[kind])
        if everything.ndim != 2 or len(everything) != len(self._rows) or everything.dtype.kind != "f":
            raise UserError(
                f"features {self._path}: array '{self._arrays[kind]}' is {everything.dtype} {everything.shape}, and "
                f"there are {len(self._rows)} names"
            )
        rows = everything[[self._rows[name] for name in names]].astype(np.float32, copy=False)
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if wrong.size:
            raise UserError(f"features {self._path}: the {kind} features of {names[wrong[0]]} are not finite")
        return rows

    def file_digests(self, kind: str, names: Sequence[str]) -> list[str | None]:
        if "sha256" not in self._archive:
            return [None] * len(names)
        digests = self._array("sha256")
        return [str(digests[self._rows[name]]) or None for name in names]

    def _array(self, name: str) -> np.ndarray:
        try:
            if name not in self._read:
                self._read[name] = self._archive[name]
            return self._read[name]
        except KeyError:
            raise UserError(f"features {self._path} hold no array '{name}'") from None
        except Exception as error:
            raise UserError(f"features {self._path}: array '{name}' cannot be read: {error}") from None


class _Table:
    """Features of another program: a row for each image, a column for each feature."""

    def __init__(self, path: Path):
        from datasets.opinions.scores import read_numbers  # imports pandas, which features in a folder do not need

        where = f"features {path}"
        table = read_csv(path, PATH_COLUMNS, "features")
        name = next(column for column in PATH_COLUMNS if column in table)
        repeated = table[name][table[name].duplicated()]
        if len(repeated):
            raise UserError(f"{where}, line {repeated.index[0]}: image {repeated.iloc[0]} has features above already")
        columns = [column for column in table if column not in PATH_COLUMNS]
        if not columns:
            raise UserError(f"{where} have no column but '{name}'; each other column is a feature")
        values = [read_numbers(table[column], where, f"feature {column}") for column in columns]
        self._rows = dict(zip(table[name], np.stack(values, axis=1).astype(np.float32), strict=True))
        self.kinds = [GIVEN]

    def names(self, kinds: Sequence[str]) -> list[str]:
        """The images in the table."""
        return list(self._rows)

    def encoder(self, kind: str) -> str | None:
        return None

    def rows(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """(len(names), n_features) float32."""
        return np.stack([self._rows[name] for name in names])

    def file_digests(self, kind: str, names: Sequence[str]) -> list[str | None]:
        return [None] * len(names)


def _read_rows(paths: Sequence[Path]) -> np.ndarray:
    """(len(paths), n_features) float32; UserError for files that are damaged, not finite, or of different lengths."""
    rows: np.ndarray | None = None
    for index, path in enumerate(paths):
        row = _read_row(path)
        if rows is None:
            rows = np.empty((len(paths), row.size), np.float32)
        elif row.size != rows.shape[1]:
            raise UserError(
                f"features {path} have {row.size} values, and {paths[0]} has {rows.shape[1]}; they are of different "
                "encoders"
            )
        rows[index] = row
    return np.empty((0, 0), np.float32) if rows is None else rows


def _read_row(path: Path) -> np.ndarray:
    """(n_features,) from one file; UserError for a file that holds anything else."""
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy's readers raise any exception for a damaged file
        raise UserError(f"features {path} cannot be read: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.size == 0:
        raise UserError(f"features {path} are not an array of numbers")
    if not np.isfinite(values).all():
        raise UserError(f"features {path} are not finite")
    return values.ravel()
