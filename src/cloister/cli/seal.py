"""Seal data to a program on this platform: nobody else opens it, nor does the program on another machine.

The program is named by its file (--policy measurement) or by who signed it (--policy signer; then newer security
versions can unseal it too). The software enclave has no agent yet that vouches for what runs in it: on the command line
the identity is your word, and the data is as safe as the platform key's file, or who may use the TPM.

Putting an older sealed file back is noticed only with --counter.
"""

import argparse
import sys

from cloister.cli._seal_options import (
    STATEMENT,
    InputFile,
    StandardOutput,
    add_options,
    counter_of,
    identity_of,
    opened_key,
)
from cloister.errors import UsageError
from cloister.seal.core_dump_unsafe import forbid_core_dumps
from cloister.seal.fresh_file import fresh_file
from cloister.seal.header import SealedHeader
from cloister.seal.identity import Policy
from cloister.seal.matching import described
from cloister.seal.sealer import Sealer, Terms

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister seal --program ./app --label database-key -o key.sealed key.bin
  ./make-secret | cloister seal --program ./app -o secret.sealed
  cloister seal --program ./app --signer release.pem --policy signer --security-version 3 -o key.sealed key.bin
  cloister seal --program ./app --platform-key tpm --counter tpm:0x01800010 -o state.sealed state.bin

The secret comes from a file or standard input, never from an argument: arguments are for everybody to read.

exit codes:
  0    sealed
  2    the command line, the platform key or a file is wrong; nothing was written
  127  the program was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister seal`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--policy", choices=[str(one) for one in Policy], default=str(Policy.MEASUREMENT),
        help="who may unseal: this very program (measurement, the default), or all of its signer",
    )  # fmt: skip
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Seal, and say to whom."""
    forbid_core_dumps()
    if args.counter is not None and args.output is None:
        raise UsageError("--counter needs --output: it moves on once the sealed file is on the disk")
    if args.output is None and sys.stdout.isatty():
        raise UsageError("sealed data is not for a terminal: give --output FILE, or send it into a pipe")
    identity, counter = identity_of(args), counter_of(args)
    terms = Terms(policy=Policy(args.policy), label=args.label, counter=counter)
    with opened_key(args, make=True) as key, InputFile(args.file) as source:
        sealer = Sealer(key, identity)
        try:
            if args.output is None:
                header = sealer.seal_stream(source, StandardOutput(), terms)
            else:
                with fresh_file(args.output) as file:
                    header = sealer.seal_stream(source, file, terms)
                    file.publish()
        except ValueError as error:
            raise UsageError(f"--label: {error}") from error
        name = key.name
    if counter is not None:
        sealer.stored(header, counter)
    print(told(header, name), file=sys.stderr)
    return 0


def told(header: SealedHeader, key: str) -> str:
    """What a person should know of what was done."""
    mode = ", in debug mode" if header.debug else ""
    number = f", as number {header.stamp.value}" if header.stamp else ""
    return (
        f"sealed to {described(header.tee, header.who)}, security version {header.security_version}{mode}{number}, "
        f"under {key}\n{STATEMENT}"
    )
