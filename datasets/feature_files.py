"""Features on disk: where the feature scripts put them, which encoder they are of, and reading them for scored images.

A folder holds ``feats_<kind>/<name>_<kind>_features.npy``, (1, n_features) float32 each, and beside them
``encoder.json``, the fingerprint of the encoder. A single file (.npz) holds ``names`` (n,), and for each kind an
(n, n_features) array and its ``<kind>_encoder``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.atomic_files import whole_file
from common.errors import UserError
from datasets.image_lists import match_names

KINDS = ("quality_aware", "content_aware")
"""In the order in which a regressor sees them."""

_ENCODER = "encoder.json"


def feature_file(output_dir: Path, kind: str, name: str) -> Path:
    """Where the features of ``kind`` of an image are kept."""
    return output_dir / f"feats_{kind}" / f"{name}_{kind}_features.npy"


def has_features(output_dir: Path, kinds: Iterable[str], name: str) -> bool:
    """Whether the features of all ``kinds`` of an image are there."""
    # os.path does not mind names that are too long for the disk, and pathlib does.
    return all(os.path.exists(feature_file(output_dir, kind, name)) for kind in kinds)  # noqa: PTH110


def single_file_encoder(kind: str) -> str:
    """The name, in a single file, of the fingerprint of the encoder."""
    return f"{kind}_encoder"


def read_encoder(output_dir: Path, kind: str) -> str | None:
    """Fingerprint of the encoder that computed the features of ``kind`` in a folder; None where it is not known."""
    path = output_dir / f"feats_{kind}" / _ENCODER
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; remove it, and its folder, and compute the features again") from None


def claim_folder(output_dir: Path, kind: str, fingerprint: str) -> None:
    """Records whose features of ``kind`` a folder holds, before the first is written.

    Raises UserError where they are another encoder's: some of what is there might stay, and the two be mixed.
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
        return  # Older features, of an encoder nobody noted: it stays unknown.
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"fingerprint": fingerprint}) + "\n")


class FeatureFiles:
    """The features in a folder or a single file, of the kinds asked for or of those that are there.

    ``kinds`` and ``names`` say what there is; ``encoders``, kind -> fingerprint or None. Names are those of images that
    have features of every kind. Raises UserError where there are none.
    """

    def __init__(self, source: str | os.PathLike, kinds: Sequence[str] | None = None):
        self.source = Path(source)
        if self.source.is_dir():
            there = [kind for kind in KINDS if (self.source / f"feats_{kind}").is_dir()]
        elif self.source.is_file():
            try:
                self._arrays, self._read_arrays = np.load(self.source, allow_pickle=False), {}
                there = [kind for kind in KINDS if kind in self._arrays]
            except Exception as error:  # a damaged file leads numpy to whatever it happens to hold
                raise UserError(f"features {self.source} cannot be read: {error}") from None
        else:
            raise UserError(f"features {self.source} do not exist")
        self.kinds = [kind for kind in KINDS if kind in (kinds or there)]
        missing = [kind for kind in self.kinds if kind not in there]
        if missing or not self.kinds:
            raise UserError(
                f"features {self.source}: no {' or '.join(missing or KINDS)} features there; "
                "demo_quality_aware_feats.py and demo_content_aware_feats.py write them"
            )
        if self.source.is_dir():
            self.names = self._names_in_folder()
            self.encoders = {kind: read_encoder(self.source, kind) for kind in self.kinds}
        else:
            names = self._array("names")
            if names.ndim != 1 or names.dtype.kind != "U":
                raise UserError(f"features {self.source}: array 'names' is not a list of names")
            self._rows = {name: row for row, name in enumerate(names.tolist())}
            self.names = list(self._rows)
            self.encoders = {kind: self._encoder_in_file(kind) for kind in self.kinds}
        if not self.names:
            raise UserError(f"features {self.source}: no image has {' and '.join(self.kinds)} features there")

    def _names_in_folder(self) -> list[str]:
        of_kind = []
        for kind in self.kinds:
            root, ending = self.source / f"feats_{kind}", f"_{kind}_features.npy"
            found = (
                Path(parent, file) for parent, _, files in os.walk(root) for file in files if file.endswith(ending)
            )
            of_kind.append({path.relative_to(root).as_posix().removesuffix(ending) for path in found})
        return sorted(set.intersection(*of_kind))

    def _array(self, name: str) -> np.ndarray:
        try:
            if name not in self._read_arrays:
                self._read_arrays[name] = self._arrays[name]
            return self._read_arrays[name]
        except KeyError:
            raise UserError(f"features {self.source} hold no array '{name}'") from None
        except Exception as error:
            raise UserError(f"features {self.source}: array '{name}' cannot be read: {error}") from None

    def _encoder_in_file(self, kind: str) -> str | None:
        name = single_file_encoder(kind)
        return str(self._array(name)) if name in self._arrays else None

    def match(self, images: Sequence[str]) -> dict[str, str]:
        """Image, as a table calls it -> the name of its features, for those that have any."""
        return match_names(images, self.names, f"features {self.source}")

    def read(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), features of all kinds side by side) float32, in the order of ``names``.

        Raises UserError, with the file, for features that are damaged, of a different length than the others, or
        not finite.
        """
        return np.concatenate([self._read_kind(kind, names) for kind in self.kinds], axis=1)

    def _read_kind(self, kind: str, names: Sequence[str]) -> np.ndarray:
        if self.source.is_file():
            everything = self._array(kind)
            if everything.ndim != 2 or len(everything) != len(self._rows) or everything.dtype.kind != "f":
                raise UserError(
                    f"features {self.source}: array '{kind}' is {everything.dtype} {everything.shape}, and there are "
                    f"{len(self._rows)} names"
                )
            rows = everything[[self._rows[name] for name in names]].astype(np.float32, copy=False)
        else:
            rows = None
            for index, name in enumerate(names):
                row = _read_row(feature_file(self.source, kind, name))
                if rows is None:
                    rows = np.empty((len(names), row.size), np.float32)
                elif row.size != rows.shape[1]:
                    raise UserError(
                        f"features {feature_file(self.source, kind, name)} have {row.size} values, and those of "
                        f"{names[0]} have {rows.shape[1]}; they are of different encoders"
                    )
                rows[index] = row
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if wrong.size:
            raise UserError(f"features {self.source}: the {kind} features of {names[wrong[0]]} are not finite")
        return rows


def _read_row(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file leads numpy to whatever it happens to hold
        raise UserError(f"features {path} cannot be read: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.size == 0:
        raise UserError(f"features {path} are not an array of numbers")
    return values.ravel()
