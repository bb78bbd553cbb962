"""Write evidence: of a program in an emulated TEE, or about the confidential guest that this runs in.

Of a program in an emulated TEE (--tee) three files are written: FILE is the evidence in the vendor's own format,
FILE.roots.pem the emulated manufacturer's roots, and FILE.collateral a folder of certificates, revocation lists and TCB
statements. Emulated roots prove nothing: whoever reads the manufacturer's keys on this machine can make such evidence.
That is what it is for.

Inside an SEV-SNP or TDX guest or a CCA realm (--guest) FILE is what the kernel answers, as JSON: the maker's evidence
and, of SNP, the certificates that the host gave with it. With --tpm it is a quote of the machine's TPM, and on Azure
what the paravisor keeps there. Written to the kernel's documentation and run against doubles of its interfaces, with
emulated machines and a software TPM behind them; not yet run on hardware.
"""

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from cloister.cli import _attest_guest
from cloister.cli._arguments import nonce_of
from cloister.emulate.catalogue import KINDS, kind_of
from cloister.emulate.inside import Request, launched, load_program
from cloister.emulate.machine import Machine, Vouching
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.vendors.keystore import WARNING
from cloister.errors import UsageError

__all__ = ["build_parser", "run"]

POLICIES = 'A policy that is to accept them says so: accept_anchors = ["testing"]'
EPILOG = f"""\
examples:
  cloister attest --tee sgx --nonce 6e6f6e6365 -o quote.bin ./app
  cloister verify quote.bin --nonce 6e6f6e6365 --unsafe-trust-root quote.bin.roots.pem \\
                  --endorsement quote.bin.collateral/...
  cloister attest --tee cca -o token.cbor ./app-arm64
  cloister attest --guest --nonce 6e6f6e6365 --event-log boot.log -o report.json
  cloister verify --nonce 6e6f6e6365 report.json
  cloister attest --guest --tpm --nonce 6e6f6e6365 -o quote.json

machines: {", ".join(KINDS)}

exit codes:
    0  written
    2  the command line cannot work, or that TEE has no attestation
  120  --guest: this machine is no confidential guest, or its kernel has no way to evidence; it says what is missing
  121  the program is no static program for that machine
  127  the program was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister attest`."""
    parser.epilog = EPILOG
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--tee", metavar="NAME", help="the kind of machine to emulate")
    kind.add_argument("--guest", action="store_true", help="about the confidential guest that this runs in")
    parser.add_argument("--nonce", metavar="HEX", help="what the relying party asked to include")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="where to write the evidence")
    parser.add_argument("--keys", metavar="DIR", default="", help="keys of the emulated manufacturers")
    parser.add_argument(
        "--unsafe-debug", action="store_true", help="launch in the TEE's debug mode; the evidence says so"
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON on standard output")
    parser.add_argument("program", metavar="PROGRAM", nargs="?", help="the program's file, for --tee")
    _attest_guest.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Launch, ask for evidence, write."""
    if args.guest:
        return _attest_guest.run(args)
    _attest_guest.refuse_options(args)
    if args.program is None:
        raise UsageError("--tee needs a PROGRAM: what the emulated machine shall run and attest")
    nonce = b"" if args.nonce is None else nonce_of(args.nonce).nonce
    request = Request(tee=args.tee, keys=args.keys, debug=args.unsafe_debug)
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    machine = launched(kind_of(args.tee), request, load_program(args.program), terminal)
    try:
        evidence, vouching, measured = asked(machine, nonce)
    finally:
        machine.close()
    written = write(args.output, evidence, vouching)
    if args.json:
        print(json.dumps({"measurement": measured, **written}))
    else:
        print(f"{measured}\n{how_to_verify(args, written)}\n{WARNING}\n{POLICIES}", file=sys.stderr)
    return 0


def asked(machine: Machine, nonce: bytes) -> tuple[bytes, Vouching, str]:
    """Evidence with the nonce, what vouches for it now, and the measurement as text."""
    return machine.evidence(nonce), machine.vouching(datetime.now(UTC)), str(machine.measurement)


def write(path: Path, evidence: bytes, vouching: Vouching) -> dict[str, str | list[str]]:
    """The files, the evidence last. UsageError where that is impossible."""
    roots, folder = path.with_name(f"{path.name}.roots.pem"), path.with_name(f"{path.name}.collateral")
    try:
        if vouching.collateral:
            folder.mkdir(exist_ok=True)
        places = {folder / name: content for name, content in vouching.collateral.items()}
        for place, content in ({roots: vouching.roots} | places | {path: evidence}).items():
            place.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or path}: {error.strerror}") from error
    return {"evidence": str(path), "roots": str(roots), "collateral": [str(place) for place in places]}


def how_to_verify(args: argparse.Namespace, written: dict[str, str | list[str]]) -> str:
    """The command that verifies what was written."""
    words = ["cloister", "verify", str(written["evidence"]), "--unsafe-trust-root", str(written["roots"])]
    for file in written["collateral"]:
        words += ["--endorsement", file]
    words += ["--nonce", args.nonce] if args.nonce else []
    words += ["--unsafe-allow-debug"] if args.unsafe_debug else []
    return shlex.join(words)
