"""``python -m networks.checkpoints FILE`` says what a checkpoint is: format, architecture, head, epoch, fingerprint.

With ``--export OUT.safetensors`` it writes the encoder alone, which ``load_encoder`` reads too.
"""

import argparse
import sys
from pathlib import Path

import safetensors.torch

from common.atomic_files import whole_file
from common.errors import UserError
from networks.checkpoint_formats import find_architecture, fingerprint, read_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m networks.checkpoints", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--export", type=Path, metavar="OUT.safetensors", help="write the encoder alone")
    options = parser.parse_args()
    try:
        if options.export and options.export.suffix != ".safetensors":
            raise UserError(f"--export {options.export}: the name must end in .safetensors")
        checkpoint = read_checkpoint(options.file)
        print(f"format        {checkpoint.format}")
        print(f"architecture  {find_architecture(checkpoint.encoder) or 'unknown'}")
        print(f"head          {checkpoint.head_kind}")
        print(f"epoch         {'unknown' if checkpoint.epoch is None else checkpoint.epoch}")
        print(f"fingerprint   {fingerprint(checkpoint.encoder)}")
        if options.export:
            with whole_file(options.export) as temporary:
                contiguous = {name: value.contiguous() for name, value in checkpoint.encoder.items()}
                safetensors.torch.save_file(contiguous, temporary)
            print(f"exported      {options.export}")
    except UserError as error:
        sys.exit(f"networks.checkpoints: {error}")


if __name__ == "__main__":
    main()
