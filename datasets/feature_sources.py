"""Which image files the features in a folder were computed from: a journal beside the features.

``feats_<kind>/sources_<rank>.jsonl`` has a line for each file of features, written before it; the newest line of a name
counts. Each process of a job writes to a journal of its own. Features of older versions have no line.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError
from datasets.file_stamps import FileStamp, QuickStamp


@dataclass(frozen=True)
class SourceRecord:
    """The features ``features`` are those of the image ``image``, its name with its ending, as it was at ``stamp``."""

    features: str
    image: str
    stamp: FileStamp


class SourceRecords:
    """The journals of one kind of features, in the folder ``feats_<kind>``; ``rank`` is that of the writing process."""

    def __init__(self, folder: Path, rank: int = 0):
        self._path = folder / f"sources_{rank}.jsonl"
        self._file: BinaryIO | None = None
        self._records: dict[str, SourceRecord] = {}
        times: dict[str, int] = {}
        for path in sorted(folder.glob("sources_*.jsonl")):
            for line in _lines(path):
                # A line that a killed process has left incomplete: its features were not written either.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record, recorded = _parse(line)
                    if recorded >= times.get(record.features, 0):
                        self._records[record.features], times[record.features] = record, recorded

    def get(self, features: str) -> SourceRecord | None:
        """The record of the features with this name, or None."""
        return self._records.get(features)

    def add(self, record: SourceRecord) -> None:
        """Writes a record, before its features are; UserError where the journal cannot be written."""
        quick = asdict(record.stamp.quick)
        content = {"features": record.features, "image": record.image, **quick, "sha256": record.stamp.sha256}
        line = json.dumps({**content, "recorded_ns": time.time_ns()}) + "\n"
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115  (open as long as the records are)
            self._file.write(line.encode())
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from error
        self._records[record.features] = record


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None


def _parse(line: str) -> tuple[SourceRecord, int]:
    content = json.loads(line)
    quick = QuickStamp(*(int(content[name]) for name in ("size", "mtime_ns", "ctime_ns", "inode")))
    stamp = FileStamp(quick, str(content["sha256"]))
    return SourceRecord(str(content["features"]), str(content["image"]), stamp), int(content["recorded_ns"])
