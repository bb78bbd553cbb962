"""Unseal data that was sealed to a program on this platform, and say why not if it does not open.

Give what was given to `cloister seal`: the program, its signer and security version, the label, the platform key. A
newer security version opens what an older one sealed, never the other way round. The identity is your word here, as it
is for `cloister seal`.

Nothing comes out before all of it was checked: a file appears whole or not at all.
"""

import argparse
import io
import sys

from cloister.cli._seal_options import (
    InputFile,
    StandardOutput,
    add_options,
    counter_of,
    identity_of,
    opened_key,
)
from cloister.cli._terminal import clean
from cloister.errors import UsageError
from cloister.seal.core_dump_unsafe import forbid_core_dumps
from cloister.seal.counter import MonotonicCounter
from cloister.seal.fresh_file import fresh_file
from cloister.seal.header import SealedHeader
from cloister.seal.matching import described
from cloister.seal.sealer import Sealer, read_header
from cloister.seal.wiping import wiped

__all__ = ["build_parser", "run"]

LONGEST_FROM_PIPE = 256 << 20
NOT_CHECKED = "NOT CHECKED: anybody can have written this; unsealing checks it"
EPILOG = """\
examples:
  cloister unseal --program ./app --label database-key -o key.bin key.sealed
  cloister unseal --program ./app key.sealed | ./needs-the-secret
  cloister unseal --program ./app-2 --signer release.pem --security-version 4 -o key.bin key.sealed
  cloister unseal --show key.sealed

To standard output it reads a file twice, first to check it; from a pipe it takes at most 256 MiB.

exit codes:
  0    unsealed
  2    not sealed data, or the command line, the platform key or a file is wrong
  4    sealed for another platform, program, signer, security version, mode or label, or too old: which, is printed
  5    not authentic: changed, cut, put together or forged since it was sealed
  127  the program was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister unseal`."""
    parser.epilog = EPILOG
    parser.add_argument("--show", action="store_true", help="only print what the header says; needs no key")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Unseal, or show."""
    forbid_core_dumps()
    with InputFile(args.file) as source:
        if args.show:
            shown = lines(read_header(source)[0])
            print(NOT_CHECKED, file=sys.stderr)
            print(*shown, sep="\n")
            return 0
        counter = counter_of(args)
        with opened_key(args, make=False) as key:
            sealer = Sealer(key, identity_of(args))
            if args.output is None:
                to_stdout(sealer, source, args.label, counter)
            else:
                with fresh_file(args.output) as file:
                    sealer.unseal_stream(source, file, label=args.label, counter=counter)
                    file.publish()
    return 0


def to_stdout(sealer: Sealer, source: io.FileIO, label: str, counter: MonotonicCounter | None) -> None:
    """Check all of it, then write it."""
    if source.seekable():
        start = source.tell()
        sealer.unseal_stream(source, None, label=label, counter=counter)
        source.seek(start)
        sealer.unseal_stream(source, StandardOutput(), label=label, counter=counter)
        return
    sealed = io.BufferedReader(source).read(LONGEST_FROM_PIPE + 1)
    if len(sealed) > LONGEST_FROM_PIPE:
        raise UsageError("more than 256 MiB from a pipe cannot be checked before it is written: give --output")
    content = sealer.unseal(sealed, label=label, counter=counter)
    with wiped(content):
        sink, rest = StandardOutput(), memoryview(content)
        while rest:
            rest = rest[sink.write(rest) :]


def lines(header: SealedHeader) -> list[str]:
    """A header for a person."""
    shown = {
        "sealed to": f"{header.policy} {described(header.tee, header.who)}",
        "version": f"{header.security_version} or newer",
        "debug mode": "yes" if header.debug else "no",
        "label": header.label,
        "key": header.key_id.hex(),
    }
    if header.stamp:
        shown["counter"] = f"number {header.stamp.value} of {header.stamp.identifier.hex()}"
    return [f"{name:<11} {clean(value)}".rstrip() for name, value in shown.items()]
