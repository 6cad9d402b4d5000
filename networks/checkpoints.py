"""``python -m networks.checkpoints FILE`` describes a checkpoint: architecture, place of the encoder, fingerprint.

With ``--export OUT.safetensors`` it writes the encoder alone, which ``load_encoder`` reads, too; ``--float16`` rounds
it to half the size.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import log
from common.atomic_files import check_not_read, whole_file
from common.process import run_script

from .errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line asks for; UserError where a file holds no encoder or cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m networks.checkpoints", description="Describes a checkpoint, or exports its encoder."
    )
    parser.add_argument("file", type=Path, help="a checkpoint in any known format")
    parser.add_argument("--export", type=Path, metavar="OUT.safetensors", help="write the encoder alone")
    parser.add_argument("--float16", action="store_true", help="round the exported weights to float16: half the size")
    options = parser.parse_args(arguments)
    if options.float16 and not options.export:
        parser.error("--float16 rounds the weights that --export writes; name a file with --export")
    export: Path | None = options.export

    # These import torch, which takes two seconds and --help does not need.
    import safetensors.torch

    from .checkpoint_files import read_file
    from .checkpoint_formats import describe_differences, fingerprint, read_checkpoint

    if export and export.suffix != ".safetensors":
        raise UserError(f"--export {export}: the name must end in .safetensors")
    if export:
        check_not_read("--export", export, [options.file])
    checkpoint = read_checkpoint(options.file)
    log.info(f"architecture  {checkpoint.architecture or f'unknown ({describe_differences(checkpoint.encoder)})'}")
    log.info(f"encoder       {checkpoint.location}")
    log.info(f"epoch         {read_file(options.file, mmap=True).get('epoch', 'unknown')}")
    log.info(f"fingerprint   {fingerprint(checkpoint.encoder)}")
    if export:
        with whole_file(export) as temporary:
            contiguous = {
                name: (value.half() if options.float16 and value.is_floating_point() else value).contiguous()
                for name, value in checkpoint.encoder.items()
            }
            safetensors.torch.save_file(contiguous, temporary)
        log.info(f"exported      {export}")


if __name__ == "__main__":
    run_script(main)
