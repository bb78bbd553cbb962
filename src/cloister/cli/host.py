"""Be the administrator of a running emulated machine: look at it, tamper with it, and see what comes of it.

The machine is one that `cloister run --tee NAME --host SOCKET` started. It answers while its program waits for input.
"""

import argparse
from pathlib import Path

from cloister.emulate.administration import COMMANDS
from cloister.emulate.control import ask

__all__ = ["build_parser", "run"]

LISTING = "\n".join(f"  {name:<27} {what}" for name, what in COMMANDS.items())
EPILOG = f"""\
examples:
  cloister run --tee sev --host /tmp/sev.sock -- ./app     in one terminal
  cloister host /tmp/sev.sock symbols                      in another
  cloister host /tmp/sev.sock read 0x4c5000

commands (an address is hexadecimal, or a symbol of the program):
{LISTING}

exit codes:
  0  the machine answered, a refusal included
  2  no machine there, or words that mean nothing to it
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister host`."""
    parser.epilog = EPILOG
    parser.add_argument("socket", metavar="SOCKET", type=Path, help="the machine's socket")
    parser.add_argument("words", nargs="+", metavar="WORD", help="a command, and what it takes")


def run(args: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    print(ask(args.socket, args.words))
    return 0
