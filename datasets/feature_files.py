"""Features on disk: writing them, reading those of scored images, and which encoder they are of.

A folder holds ``feats_<kind>/<name>_<kind>_features.npy``, (1, n_features) float32 each, and beside them
``encoder.json``, the fingerprint of the encoder. A single file (.npz) holds ``names`` (n,), and for each kind an
(n, n_features) array and its ``<kind>_encoder``.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.atomic_files import whole_file
from common.errors import UserError
from common.names import KINDS as KINDS
from datasets.image_lists import match_names

LONGEST_NAME = 240
"""Bytes in the name of a file, of the 255 that file systems allow; a temporary name is a little longer."""

_ENCODER = "encoder.json"


# Where features are kept, and which encoder they are of.


def feature_file(output_dir: Path, kind: str, name: str) -> Path:
    """The file of an image's features of one kind."""
    return output_dir / f"feats_{kind}" / f"{name}_{kind}_features.npy"


def fits_on_disk(kinds: Iterable[str], name: str) -> bool:
    """Whether the names of the files of features are short enough for a file system."""
    return all(len(os.fsencode(feature_file(Path(), kind, name).name)) <= LONGEST_NAME for kind in kinds)


def has_features(output_dir: Path, kinds: Iterable[str], name: str) -> bool:
    """Whether the folder holds an image's features of all ``kinds``."""
    # os.path accepts names that are too long for the file system; pathlib raises.
    return all(os.path.exists(feature_file(output_dir, kind, name)) for kind in kinds)  # noqa: PTH110


def read_encoder(output_dir: Path, kind: str) -> str | None:
    """Fingerprint of the encoder that computed the features of ``kind`` in a folder; None where it is not known."""
    path = output_dir / f"feats_{kind}" / _ENCODER
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove its folder and compute the features again") from None


def claim_folder(output_dir: Path, kind: str, fingerprint: str) -> None:
    """Records the encoder whose features of ``kind`` a folder holds, before the first is written.

    Raises UserError where the folder holds features of a different encoder: the two would be mixed.
    """
    path = output_dir / f"feats_{kind}" / _ENCODER
    known = read_encoder(output_dir, kind)
    if known == fingerprint:
        return
    if known is not None:
        raise UserError(
            f"{path.parent} holds features of another encoder ({known[:12]}, and this one is {fingerprint[:12]}); name "
            "another folder, or remove this one"
        )
    if path.parent.is_dir() and any(path.parent.rglob("*.npy")):
        return  # Older features without a record of their encoder: it stays unknown.
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"fingerprint": fingerprint}) + "\n")


# Writing.


def write_features(output_dir: Path, name: str, values: Mapping[str, np.ndarray]) -> None:
    """Writes the features of an image, kind -> (n_features,) float32, as (1, n_features) each."""
    for kind, features in values.items():
        path = feature_file(output_dir, kind, name)
        with whole_file(path, durable=False) as temporary, open(temporary, "wb") as file:
            np.save(file, features[None], allow_pickle=False)


def write_single_file(target: Path, folder: Path, kinds: Sequence[str], names: Mapping[str, str]) -> int:
    """Moves the features in ``folder`` into one .npz, row by row, and returns the number of rows.

    ``names`` is image name -> name of its features; images without features are left out. Memory does not grow with
    the number of rows. Raises UserError where no image has features.
    """
    complete = [image for image, name in names.items() if has_features(folder, kinds, name)]
    if not complete:
        raise UserError(f"{target} was not written: no image gave features")
    with whole_file(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        _write_array(archive, "names", np.array(complete))
        for kind in kinds:
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
        self._files: _Folder | _SingleFile
        if self.source.is_dir():
            self._files = _Folder(self.source)
        elif self.source.is_file():
            self._files = _SingleFile(self.source)
        else:
            raise UserError(f"features {self.source} do not exist")
        self.kinds = [kind for kind in KINDS if kind in (kinds or self._files.kinds)]
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
        return np.concatenate([self._read_kind(kind, names) for kind in self.kinds], axis=1)

    def _read_kind(self, kind: str, names: Sequence[str]) -> np.ndarray:
        rows = self._files.rows(kind, names)
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if wrong.size:
            raise UserError(f"features {self.source}: the {kind} features of {names[wrong[0]]} are not finite")
        return rows


class _Folder:
    """Features in a folder, one file for each image and kind."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.kinds = [kind for kind in KINDS if (folder / f"feats_{kind}").is_dir()]

    def names(self, kinds: Sequence[str]) -> list[str]:
        """The images that have features of all ``kinds``, sorted."""
        return sorted(set.intersection(*(self._names_of_kind(kind) for kind in kinds)))

    def _names_of_kind(self, kind: str) -> set[str]:
        root, ending = self._folder / f"feats_{kind}", f"_{kind}_features.npy"
        found = (Path(parent, file) for parent, _, files in os.walk(root) for file in files if file.endswith(ending))
        return {path.relative_to(root).as_posix().removesuffix(ending) for path in found}

    def encoder(self, kind: str) -> str | None:
        return read_encoder(self._folder, kind)

    def rows(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """(len(names), n_features) float32; UserError where lengths differ."""
        if not names:
            return np.empty((0, 0), np.float32)
        first = _read_row(feature_file(self._folder, kind, names[0]))
        rows = np.empty((len(names), first.size), np.float32)
        for index, name in enumerate(names):
            path = feature_file(self._folder, kind, name)
            row = _read_row(path)
            if row.size != first.size:
                raise UserError(
                    f"features {path} have {row.size} values, and those of {names[0]} have {first.size}; they are of "
                    "different encoders"
                )
            rows[index] = row
        return rows


class _SingleFile:
    """Features in one .npz, a row for each image."""

    def __init__(self, path: Path):
        self._path = path
        self._read: dict[str, np.ndarray] = {}
        self._rows: dict[str, int] = {}
        try:
            self._archive = np.load(path, allow_pickle=False)
            self.kinds = [kind for kind in KINDS if kind in self._archive]
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
        everything = self._array(kind)
        if everything.ndim != 2 or len(everything) != len(self._rows) or everything.dtype.kind != "f":
            raise UserError(
                f"features {self._path}: array '{kind}' is {everything.dtype} {everything.shape}, and there are "
                f"{len(self._rows)} names"
            )
        return everything[[self._rows[name] for name in names]].astype(np.float32, copy=False)

    def _array(self, name: str) -> np.ndarray:
        try:
            if name not in self._read:
                self._read[name] = self._archive[name]
            return self._read[name]
        except KeyError:
            raise UserError(f"features {self._path} hold no array '{name}'") from None
        except Exception as error:
            raise UserError(f"features {self._path}: array '{name}' cannot be read: {error}") from None


def _read_row(path: Path) -> np.ndarray:
    """(n_features,) from one file; UserError for a file that holds anything else."""
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy's readers raise any exception for a damaged file
        raise UserError(f"features {path} cannot be read: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.size == 0:
        raise UserError(f"features {path} are not an array of numbers")
    return values.ravel()
