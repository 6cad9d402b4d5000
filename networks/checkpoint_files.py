"""The content of checkpoint files, read without executing anything in them: torch's formats and safetensors."""

from __future__ import annotations

import argparse
import collections
import errno
import os
import pickle
import re
import types
import warnings
import zipfile
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import safetensors.torch
import torch

from .errors import UserError, is_out_of_memory, name_failed_download

State = dict[str, torch.Tensor]

_NOT_GIVEN = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE)
"""Errors of the system that say nothing of a file's content; a damaged one can raise others, such as EINVAL."""


class UnreadableFileError(UserError):
    """The system does not give a file's content now (rights, memory, a disk's error): the file may be sound."""


def read_file(path: str | os.PathLike, mmap: bool = False) -> dict[str, Any]:
    """Reads the dictionary in a safetensors or torch file, on the CPU; the format is recognised by its content.

    With ``mmap``, weights of torch's zip format are read from the disk when they are first used. Raises UserError for
    a file that is missing, damaged, no dictionary, or that holds more than data.
    """
    path = Path(path)
    if not path.is_file():
        why = "is not a file; name the file with the weights" if path.exists() else "does not exist"
        raise UserError(f"checkpoint {path} {why}")
    start = b""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
        # The length of a header (8 bytes, little endian), then JSON.
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8:
            return safetensors.torch.load_file(path)
        mmap = mmap and zipfile.is_zipfile(path)  # torch's older format cannot be mapped
        # An open file: of a path, torch would look at the ending. Only a path can be mapped into memory.
        with warnings.catch_warnings(), torch.serialization.safe_globals(_data_types()), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # on TorchScript archives, which are refused below
            content = torch.load(path if mmap else file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch's readers raise exceptions of any type for a damaged file
        text = str(error)
        if isinstance(error, OSError) and error.errno in _NOT_GIVEN:
            raise UnreadableFileError(f"checkpoint {path} cannot be read: {error.strerror}") from None
        if is_out_of_memory(error) or "unable to mmap" in text:
            raise UnreadableFileError(f"checkpoint {path} cannot be read: the memory is too small for it") from None
        if forbidden := re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", text):
            raise UserError(
                f"checkpoint {path} is unsafe: reading it would run code ({forbidden[1]}). "
                "Ask its author for the weights alone (a state_dict or a .safetensors file)"
            ) from None
        reason = name_failed_download(start)
        if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
            reason = "is damaged: it ends too early, as after a download that was cut off"
        elif "TorchScript" in text:
            reason = "is a TorchScript program, not weights; save its state_dict() and name that file"
        elif not reason:
            shown = "" if isinstance(error, pickle.UnpicklingError) else text.split("\n")[0]  # that one gives advice
            reason = ": ".join(filter(None, ["is no checkpoint of weights, or is damaged", shown]))[:250]
        raise UserError(f"checkpoint {path} {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _data_types() -> list[Any]:
    """Types beside tensors that checkpoints hold and that run no code: options, paths, numbers and arrays of numpy.

    Each is a type, or a pair of it and the name under which another version or platform saved it.
    """
    types_of_data: list[Any] = [argparse.Namespace, types.SimpleNamespace, collections.defaultdict, dict, list, range]
    types_of_data += [set, frozenset, np.ndarray, np.dtype, *(type(np.dtype(code)) for code in np.typecodes["All"])]
    # A path of another platform cannot be constructed here: its pure form is the same data.
    pure_paths = {"Path": PurePath, "PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath}
    for name, kind in pure_paths.items():
        for module in ("pathlib", "pathlib._local"):
            types_of_data += [(kind, f"{module}.{name}"), (kind, f"{module}.Pure{name}")]
    # The functions by which pickle makes a number and an array of numpy again; numpy 1 has them under another name.
    constructors = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    for name, function in constructors.items():
        types_of_data += [(function, f"numpy.{package}.multiarray.{name}") for package in ("core", "_core")]
    return types_of_data
