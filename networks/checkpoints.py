"""``python -m networks.checkpoints FILE`` describes a checkpoint: format, architecture, head, epoch, fingerprint.

It also says where in the file the encoder is, and which tensors are left out. With ``--export OUT.safetensors`` it
writes the encoder alone, which ``load_encoder`` reads, too.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch

from common import log
from common.atomic_files import whole_file
from common.errors import UserError
from networks.checkpoint_formats import fingerprint, read_checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m networks.checkpoints", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--export", type=Path, metavar="OUT.safetensors", help="write the encoder alone")
    options = parser.parse_args(arguments)
    try:
        describe(options.file, options.export)
    except UserError as error:
        sys.exit(f"networks.checkpoints: {error}")


def describe(file: Path, export: Path | None) -> None:
    """Prints what ``file`` holds, and writes its encoder to ``export``; UserError where it holds no encoder."""
    if export and export.suffix != ".safetensors":
        raise UserError(f"--export {export}: the name must end in .safetensors")
    checkpoint = read_checkpoint(file)
    log.info(f"format        {checkpoint.format}")
    log.info(f"architecture  {checkpoint.architecture or 'unknown'}")
    log.info(f"head          {checkpoint.head_kind}")
    log.info(f"encoder       {checkpoint.location}")
    log.info(f"left out      {', '.join(checkpoint.left_out) or 'nothing'}")
    log.info(f"epoch         {'unknown' if checkpoint.epoch is None else checkpoint.epoch}")
    log.info(f"fingerprint   {fingerprint(checkpoint.encoder)}")
    if export:
        with whole_file(export) as temporary:
            contiguous = {name: value.contiguous() for name, value in checkpoint.encoder.items()}
            safetensors.torch.save_file(contiguous, temporary)
        log.info(f"exported      {export}")


if __name__ == "__main__":
    main()
