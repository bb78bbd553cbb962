"""Attack a program as the administrator of its machine, and see what comes of it.

Without --tee: as root, with everything that the kernel offers him, against PROGRAM or a small victim, once natively and
once in the software enclave. An attack that does not work natively proves nothing, and is called inconclusive.

With --tee or --matrix: a small compiled program runs in an emulated machine; the adversary acts while it waits: reads
and writes memory as the host, as a device, on the bus; remaps and withholds pages; looks at registers; changes the
program; answers system calls with lies. Each result stands beside what is published of real hardware.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from cloister.cli import _attack_software
from cloister.emulate.attacks.battery import ATTACKS, attack_named
from cloister.emulate.attacks.matrix import Matrix, run_matrix
from cloister.emulate.attacks.render import as_html, as_json, as_text, finding_text
from cloister.emulate.catalogue import KINDS, NATIVE, kind_of
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError

__all__ = ["build_parser", "run"]

DIFFERS = 10
UNTRIED = 16

EPILOG = f"""\
examples:
  cloister attack                                  root against the software enclave, all attacks
  cloister attack --only mem-read --only gdb       two of them
  cloister attack --only 'file-*' --only 'net-*' --only 'console-*'         its shielded files, network, console
  cloister attack -- ./app --option                a program of yours, which takes a secret on standard input
  cloister attack --html attacks.html              and a page with who can still read it
  cloister attack --tee sev                        all attacks on one machine
  cloister attack --tee sgx remap replay           two of them
  cloister attack --matrix                         all attacks on all machines
  cloister attack --matrix --html matrix.html      and a page with a picture of it

machines: {", ".join((NATIVE.name, *KINDS))}
attacks:  {", ".join(ATTACKS)}

attacks on the software enclave: cloister attack --list

exit codes:
   0  nothing leaked but what LIMITATIONS.md declares; --tee: every outcome is what is published of real hardware
  10  something leaked that is not declared; --tee: an outcome differs, and which
  16  inconclusive: nothing leaked, but an attack did not work natively, or broke
  16  --tee: an attack could not be tried (no compiler for that instruction set), and which
   2  the command line cannot work
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister attack`."""
    parser.epilog = EPILOG
    parser.usage = "cloister attack [options] [-- PROGRAM ARGS ...] | --tee NAME [ATTACK ...] | --matrix [ATTACK ...]"
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tee", metavar="NAME", help="attack this emulated machine")
    which.add_argument("--matrix", action="store_true", help="attack all machines, and print a table")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page with the tables")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("--keys", metavar="DIR", type=Path, help="keys of the emulated manufacturers")
    parser.add_argument(
        "attacks",
        nargs="*",
        metavar="WORD",
        help="with --tee or --matrix: which attacks (default: all); else PROGRAM, ARGS",
    )
    _attack_software.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Attack, print, judge."""
    if args.tee is None and not args.matrix:
        return _attack_software.run(args, progress())
    return run_emulated(args)


def run_emulated(args: argparse.Namespace) -> int:
    """Attack emulated machines."""
    if args.only or args.list or args.unsafe_no_guard or args.unsafe_change_machine:
        raise UsageError("--only, --list and --unsafe-... are for the software enclave: without --tee and --matrix")
    attacks = tuple(attack_named(name).name for name in args.attacks) or tuple(ATTACKS)
    machines = (NATIVE.name, *KINDS) if args.matrix else (machine_named(args.tee),)
    matrix = run_matrix(Keystore(args.keys), machines=machines, attacks=attacks, progress=progress())
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if args.html is not None:
        _attack_software.write_page(args.html, as_html(matrix))
    if args.json:
        print(json.dumps(as_json(matrix), indent=2))
    elif args.matrix:
        print(as_text(matrix), end="")
    else:
        print("\n".join(finding_text(cell) for cell in matrix.cells.values()), end="")
    return exit_code(matrix)


def machine_named(name: str) -> str:
    """The machine's name, if there is such a machine."""
    return kind_of(name).name


def progress() -> Callable[[str], None]:
    """One line that overwrites itself, on a terminal."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return show


def exit_code(matrix: Matrix) -> int:
    """A difference counts for more than what could not be tried."""
    wrong = matrix.disagreements
    if any(cell.finding is not None for cell in wrong):
        return DIFFERS
    return UNTRIED if wrong else 0
