"""Features of many images: from a folder, in a single file, or from another program.

A single file (.npz) holds ``names`` (n,), for each kind an (n, n_features) array and its ``<kind>_encoder``, and of the
image files ``size`` (bytes), ``mtime_ns`` and ``sha256``, (n,) each.

Features of another program are in a table (.csv) with a column ``image`` and a column for each feature, or in a single
file (.npz) with ``names`` (n,) and ``features`` (n, n_features).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.atomic_files import whole_file
from datasets.features.files import NUMBERS, FeatureFolder, as_features, feature_file, read_encoder, read_rows
from datasets.images.lists import LIST_SUFFIX, PATH_COLUMNS, ListedImage, match_names
from datasets.opinions.label_files import read_numbers
from datasets.opinions.tables import IMAGE, TABLE_SUFFIXES, read_csv
from networks.errors import UserError
from networks.names import GIVEN, KINDS


@dataclass(frozen=True)
class _OfKind:
    """Features of one kind: image -> its row (n_features,), or the file that holds the row.

    ``encoder`` is the encoder's identity, ``digests`` image -> SHA-256 of its file, where they are known.
    """

    rows: dict[str, np.ndarray] | dict[str, Path]
    encoder: str | None = None
    digests: dict[str, str] = field(default_factory=dict)


class FeatureFiles:
    """The features in a folder, a single file or a table: of ``kinds``, or of the kinds that it holds.

    ``names`` are those of the images that have features of every kind; ``encoders`` is kind -> identity or None.
    Raises UserError where there are none, and for a file that is damaged.
    """

    def __init__(self, source: str | os.PathLike, kinds: Sequence[str] | None = None):
        self.source = Path(source)
        if not self.source.exists():
            raise UserError(f"features {self.source} do not exist")
        is_table = self.source.suffix.lower() in (*TABLE_SUFFIXES, LIST_SUFFIX)
        read = _in_folder if self.source.is_dir() else _in_table if is_table else _in_single_file
        self._features = read(self.source, kinds or (*KINDS, GIVEN))
        self.kinds = [kind for kind in (*KINDS, GIVEN) if kind in (kinds or self._features)]
        missing = [kind for kind in self.kinds if kind not in self._features]
        if missing or not self.kinds:
            raise UserError(
                f"features {self.source}: no {' or '.join(missing or KINDS)} features there; "
                "demo_quality_aware_feats.py and demo_content_aware_feats.py write them"
            )
        first, *others = (self._features[kind] for kind in self.kinds)
        self.names = [name for name in first.rows if all(name in other.rows for other in others)]
        if not self.names:
            raise UserError(f"features {self.source}: no image has {' and '.join(self.kinds)} features there")
        self.encoders = {kind: self._features[kind].encoder for kind in self.kinds}

    def match(self, images: Sequence[str]) -> dict[str, str]:
        """Image, as a table calls it -> the name of its features, for those that have any."""
        return match_names(images, self.names, f"features {self.source}")

    def read(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), features of all kinds side by side) float32, in the order of ``names``.

        Those of another program are float64 where float32 would cut them. Raises UserError, with the file, for features
        that are damaged, not finite, too large, or of different lengths.
        """
        of_kinds = []
        for kind in self.kinds:
            rows = [self._features[kind].rows[name] for name in names]
            files = [row for row in rows if isinstance(row, Path)]
            if files:
                of_kinds.append(read_rows(files))
                continue
            of_kinds.append(as_features(np.array(rows), f"features {self.source}: the {kind} features", names))
        return np.concatenate(of_kinds, axis=1)

    def file_digests(self, names: Sequence[str]) -> list[str | None]:
        """SHA-256 of the image files from which the features of ``names`` were computed; None where not recorded."""
        digests = self._features[self.kinds[0]].digests
        return [digests.get(name) or None for name in names]


def _in_folder(folder: Path, kinds: Sequence[str]) -> dict[str, _OfKind]:
    """A file for each image and kind; images are named with their endings, where these are recorded."""
    features = {}
    for kind in kinds:
        root, ending = folder / f"feats_{kind}", f"_{kind}_features.npy"
        if not root.is_dir():
            continue
        found = (Path(parent, file) for parent, _, files in os.walk(root) for file in files if file.endswith(ending))
        recorded = FeatureFolder(folder, [kind])
        files, digests = {}, {}
        for path in found:
            name = path.relative_to(root).as_posix().removesuffix(ending)
            source = recorded.source(kind, name)
            image = source.image if source else name
            files[image] = path
            if source:
                digests[image] = source.stamp.sha256
        features[kind] = _OfKind(dict(sorted(files.items())), read_encoder(folder, kind), digests)
    return features


def _in_single_file(path: Path, kinds: Sequence[str]) -> dict[str, _OfKind]:
    """A row for each image, in an array for each kind, or in the array ``features`` of another program."""
    stored = {**{kind: kind for kind in KINDS}, GIVEN: "features"}
    read = {"names", "sha256", *(stored[kind] for kind in kinds), *(f"{kind}_encoder" for kind in kinds)}
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in read}
    except Exception as error:  # numpy's readers raise any exception for a damaged file
        raise UserError(f"features {path} cannot be read: {error}") from None
    if "names" not in arrays:
        raise UserError(f"features {path} hold no array 'names'")
    if arrays["names"].ndim != 1 or arrays["names"].dtype.kind != "U":
        raise UserError(f"features {path}: array 'names' is not a list of names")
    names = arrays["names"].tolist()
    digests = dict(zip(names, arrays["sha256"].tolist(), strict=True)) if "sha256" in arrays else {}
    features = {}
    for kind in kinds:
        rows = arrays.get(stored[kind])
        if rows is None:
            continue
        n_features = max(rows.shape[1:], default=0)  # other axes may be there, of length 1
        if (
            rows.dtype.kind not in NUMBERS
            or rows.shape[:1] != (len(names),)
            or not (0 < rows.size == len(names) * n_features)
        ):
            raise UserError(
                f"features {path}: array '{stored[kind]}' is {rows.dtype} {rows.shape}; real numbers in the shape "
                f"({len(names)}, number of features) are needed, a row for each of the {len(names)} names"
            )
        encoder = arrays.get(f"{kind}_encoder")
        rows_of = dict(zip(names, rows.reshape(len(names), n_features), strict=True))
        features[kind] = _OfKind(rows_of, None if encoder is None else str(encoder), digests)
    if len(features) > 1:
        features.pop(GIVEN, None)
    return features


def _in_table(path: Path, kinds: Sequence[str]) -> dict[str, _OfKind]:
    """A row for each image and a column for each feature, computed by another program."""
    where = f"features {path}"
    table = read_csv(path, PATH_COLUMNS, "features")
    repeated = table[IMAGE][table[IMAGE].duplicated()]
    if len(repeated):
        raise UserError(f"{where}, line {repeated.index[0]}: image {repeated.iloc[0]} has features above already")
    columns = [column for column in table if column != IMAGE]
    if not columns:
        raise UserError(f"{where} have no column but that of the images; each other column is a feature")
    values = [read_numbers(table[column], where, f"feature {column}") for column in columns]
    rows = np.stack(values, axis=1)
    return {GIVEN: _OfKind(dict(zip(table[IMAGE], rows, strict=True)))}


def write_single_file(target: Path, features: FeatureFolder, images: Sequence[ListedImage], n_failed: int) -> None:
    """Moves the features of ``images`` into one .npz.

    ``n_failed`` images have no features and are left out. The folder is removed. Raises UserError where no image has
    features, or where those of more images are missing.
    """
    folder, plan = features.folder, features.plan(images)
    complete = [images[position].name for position in plan.fresh]
    if n_failed == len(images):
        raise UserError(f"{target} was not written: no image gave features")
    if len(complete) != len(images) - n_failed:
        raise UserError(
            f"{target} was not written: {folder} holds features of {len(complete):,d} images, and "
            f"{len(images) - n_failed:,d} were computed; have files changed, or been removed? The same command resumes"
        )
    names = [plan.names[image] for image in complete]
    sources = [features.source(features.kinds[0], name) for name in names]
    arrays = {"names": np.array(complete)}
    arrays["size"] = np.array([source.stamp.size if source else -1 for source in sources])
    arrays["mtime_ns"] = np.array([source.stamp.mtime_ns if source else -1 for source in sources])
    arrays["sha256"] = np.array([source.stamp.sha256 if source else "" for source in sources])
    for kind in features.kinds:
        arrays[kind] = read_rows([feature_file(folder, kind, name) for name in names])
        encoder = read_encoder(folder, kind)
        if encoder:
            arrays[f"{kind}_encoder"] = np.array(encoder)
    with whole_file(target) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # its stubs take the names for allow_pickle
    shutil.rmtree(folder, ignore_errors=True)  # its lock is open, which some file servers keep
