"""Make or show this host's attestation key, which vouches for software enclaves that `cloister run --broker` starts.

Prints the public key; a broker that shall believe this host gets it by `cloister serve --trust-host-key FILE`. The
private key stays in its file, which only its owner may read: whoever reads it vouches for anything in this host's name.
"""

import argparse
import sys
from pathlib import Path

from cloister.attest.host_key import FileHostKey, default_path
from cloister.errors import UsageError

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister host-key -o host.pem          then, at the broker: cloister serve --trust-host-key host.pem ...
  cloister host-key --key /etc/cloister/host-key.pem

exit codes:
  0  shown
  2  the key cannot be read or made, or others may read it
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister host-key`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="the private key, made on first use (~/.local/state/cloister/host-key.pem)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the public key there, not to standard output")


def run(args: argparse.Namespace) -> int:
    """Make it if there is none; show the public half."""
    key = FileHostKey(Path(args.key) if args.key else default_path())
    pem = key.public_pem()
    if args.output is None:
        print(pem.decode(), end="")
        return 0
    try:
        Path(args.output).write_bytes(pem)
    except OSError as error:
        raise UsageError(f"cannot write {args.output}: {error.strerror}") from error
    print(f"{args.output}: the public half of {key.path}", file=sys.stderr)
    return 0
