"""Look for a known secret in the memory of a running program, or in a core or any other file.

The whole program is searched: the process, its descendants, the guards of its software enclave; their memory,
environment, arguments, names and open files. Each secret is searched as it is and as UTF-16, UTF-32, base64 (at
any alignment, standard and URL-safe), hexadecimal, percent-encoded and reversed, also where it continues in the
next mapping, or is cut off by memory that cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloister.errors import UsageError
from cloister.observe.describe import scan_document, scan_lines
from cloister.observe.findings import Scan
from cloister.observe.needles import Needles
from cloister.observe.places import scan_family_places
from cloister.observe.scan import scan_family, scan_file

__all__ = ["build_parser", "run"]

NOT_FOUND, FOUND, COULD_NOT_TELL = 0, 10, 16
VERDICTS = {NOT_FOUND: "not found", FOUND: "found", COULD_NOT_TELL: "could not tell"}
EPILOG = """\
examples:
  cloister scan 4242 --secret-file marker.txt             a running program
  printf %s "$MARKER" | cloister scan 4242 --secret-stdin
  cloister scan core.4242 --secret-hex 00ff3c77aa01 --label session-key
  cloister scan 4242 --aes-keys --json                    expanded AES keys, no secret needed

A secret given with --secret or --secret-hex stands on the command line, where every user of this machine can
read it, and in the shell's memory and history: use these for planted markers only. A final newline of
--secret-file or --secret-stdin is not part of the secret.

The program runs on while it is scanned: what moves meanwhile may be missed. Another user's process needs root.
Not searched: data waiting in pipes and sockets, kernel memory, swap and disks beyond the files it holds open.

exit codes:
  0    not found, in everything that was read; see how much that was
  10   found: a secret, part of one at the edge of unreadable memory, or an expanded AES key
  16   could not tell: nothing was readable, permission was denied, or the process has ended
  2, 3 the command line is wrong; the file cannot be read
"""


@dataclass(kw_only=True)
class GivenSecret:
    """A secret from the command line; `option` says where it came from."""

    option: str
    value: str = field(repr=False)
    label: str = ""


class SecretOption(argparse.Action):
    """Collects all kinds of secrets in one list, in the order given, so that --label can name the one before it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add a secret, or name the last one."""
        given: list[GivenSecret] = namespace.secrets
        if option_string == "--label":
            if not given:
                parser.error("--label names the secret before it; give a secret first")
            given[-1].label = str(values)
        else:
            namespace.secrets = [*given, GivenSecret(option=option_string or "", value=str(values))]


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister scan`."""
    parser.epilog = EPILOG
    parser.set_defaults(secrets=[])
    parser.add_argument("target", metavar="PID|FILE", help="a process id, or a file: an ELF core, a dump, anything")
    parser.add_argument("--secret", metavar="TEXT", action=SecretOption, help="search TEXT; visible to other users")
    parser.add_argument("--secret-file", metavar="FILE", action=SecretOption, help="search the content of FILE")
    parser.add_argument("--secret-stdin", nargs=0, action=SecretOption, help="search what stands on standard input")
    parser.add_argument("--secret-hex", metavar="HEX", action=SecretOption, help="search these bytes; visible too")
    parser.add_argument("--label", metavar="NAME", action=SecretOption, help="call the secret before this NAME")
    parser.add_argument(
        "--aes-keys", action="store_true", help="find expanded AES keys too; about 30 times slower (0.1 GB/s)"
    )
    parser.add_argument(
        "--memory-only", action="store_true", help="leave out environment, arguments, names and open files"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Scan, report, and return the exit code."""
    if not args.secrets and not args.aes_keys:
        raise UsageError(
            "nothing to look for; give --secret-file, --secret-stdin, --secret, --secret-hex or --aes-keys"
        )
    needles = Needles.of(read_secrets(args.secrets))
    for warning in needles.warnings:
        print(f"cloister scan: {warning}", file=sys.stderr)
    scan = scan_target(args.target, needles, aes_keys=args.aes_keys, memory_only=args.memory_only)
    code = judge(scan)
    if args.json:
        print(json.dumps(scan_document(scan, VERDICTS[code]) | {"target": args.target}, indent=2))
    else:
        print(*scan_lines(scan, VERDICTS[code]), sep="\n", file=sys.stderr)
    return code


def read_secrets(given: list[GivenSecret]) -> dict[str, bytes]:
    """The secrets by label; without one they are called `secret 1` and so on."""
    secrets = {one.label or f"secret {number}": read_secret(one) for number, one in enumerate(given, 1)}
    if len(secrets) < len(given):
        raise UsageError("two secrets have the same label; give each --label another name")
    return secrets


def read_secret(given: GivenSecret) -> bytes:
    """The bytes of one secret."""
    if given.option == "--secret":
        return given.value.encode("utf-8", "surrogateescape")
    if given.option == "--secret-stdin":
        return sys.stdin.buffer.read().removesuffix(b"\n")
    try:
        if given.option == "--secret-file":
            return Path(given.value).read_bytes().removesuffix(b"\n")
        return bytes.fromhex(given.value)
    except OSError as error:
        raise UsageError(f"cannot read {given.value}: {error.strerror}; give --secret-file a readable file") from error
    except ValueError as error:
        raise UsageError("--secret-hex takes two hexadecimal digits per byte, like 00ff3c77") from error


def scan_target(target: str, needles: Needles, *, aes_keys: bool, memory_only: bool) -> Scan:
    """Scan a process family if `target` is a number, else a file."""
    if not target.isdecimal():
        return scan_file(Path(target), needles, aes_keys=aes_keys)
    memory = scan_family(int(target), needles, aes_keys=aes_keys)
    return memory if memory_only else memory.merge(scan_family_places(int(target), needles))


def judge(scan: Scan) -> int:
    """The exit code. Nothing found is an answer only if something was read and nothing in reach was left out."""
    if scan.findings or scan.keys:
        return FOUND
    looked = scan.coverage.read_bytes + scan.coverage.untouched_bytes
    return COULD_NOT_TELL if scan.doubts or not looked else NOT_FOUND
