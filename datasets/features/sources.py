"""Which image files the features in a folder were computed from: a journal beside the features.

``feats_<kind>/sources_<rank>.jsonl`` has a line for each file of features, written before it; the newest line of a name
counts. Each process of a job writes to a journal of its own. Features of older versions have no line.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import unicodedata
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.errors import UserError
from datasets.features.stamps import FileStamp, QuickStamp

_COARSEST_TIMES_NS = 2_000_000_000


@dataclass(frozen=True)
class SourceRecord:
    """The features ``features`` are those of the image ``image``, its name with its ending, as it was at ``stamp``.

    ``recorded_ns`` is when the journal's line was written, in nanoseconds since 1970.
    """

    features: str
    image: str
    stamp: FileStamp
    recorded_ns: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether an equal ``QuickStamp`` proves equal content.

        It does not if the file was changed within two seconds before it was recorded. Some disks store times in steps
        of two seconds, so a second change could leave the same time.
        """
        quick = self.stamp.quick
        return self.recorded_ns - max(quick.mtime_ns, quick.ctime_ns) > _COARSEST_TIMES_NS


class SourceRecords:
    """The journals of one kind of features, in the folder ``feats_<kind>``; ``rank`` is that of the writing process."""

    def __init__(self, folder: Path, rank: int = 0):
        self._path = folder / f"sources_{rank}.jsonl"
        self._records: dict[str, SourceRecord] = {}
        self._alike: dict[str, set[str]] = defaultdict(set)
        for path in sorted(folder.glob("sources_*.jsonl")):
            for line in _lines(path):
                # A line that a killed process has left incomplete: its features were not written either.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = _parse(line)
                    known = self._records.get(record.features)
                    if known is None or record.recorded_ns >= known.recorded_ns:
                        self._keep(record)

    def get(self, features: str) -> SourceRecord | None:
        """The record of the features with this name, or None."""
        return self._records.get(features)

    def alike(self, features: str) -> list[SourceRecord]:
        """The records of other names that some file systems do not tell apart from this one."""
        return [self._records[name] for name in sorted(self._alike.get(folded(features), ())) if name != features]

    def _keep(self, record: SourceRecord) -> None:
        self._records[record.features] = record
        self._alike[folded(record.features)].add(record.features)

    def add(self, record: SourceRecord) -> None:
        """Writes a record, before its features are; UserError where the journal cannot be written."""
        record = replace(record, recorded_ns=time.time_ns())
        quick = asdict(record.stamp.quick)
        content = {"features": record.features, "image": record.image, **quick, "sha256": record.stamp.sha256}
        line = json.dumps({**content, "recorded_ns": record.recorded_ns}) + "\n"
        try:
            if not self._records:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            # Not kept open: Windows could not remove the folder then.
            with open(self._path, "ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from error
        self._keep(record)


def folded(name: str) -> str:
    """A name in lower case and one Unicode form: equal for names that some disks do not tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None


def _parse(line: str) -> SourceRecord:
    content = json.loads(line)
    quick = QuickStamp(*(int(content[name]) for name in ("size", "mtime_ns", "ctime_ns", "inode")))
    stamp = FileStamp(quick, str(content["sha256"]))
    return SourceRecord(str(content["features"]), str(content["image"]), stamp, int(content["recorded_ns"]))
