"""`cloister sigstruct view` and `verify`."""

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final

from cloister.cli._arguments import read_input
from cloister.cli._lines import labelled
from cloister.cli._terminal import clean_lines
from cloister.cli._verify_sigstruct import LONG, claims, sigstruct_in
from cloister.errors import UsageError
from cloister.evidence.sigstruct import Sigstruct
from cloister.verification.recipe import Allowances
from cloister.verification.sigstruct import verify_sigstruct
from cloister.verifier.documents import check_document

__all__ = ["add_verify", "add_view", "run"]

LARGEST: Final = 1 << 30
ANOTHER: Final = 4
WIDTH: Final = 120
SHOWN_OTHERWISE: Final = frozenset({"header", "header2", "exponent", "date", "enclave_hash"})
"""Constants, and what stands in another line already."""

FLAGS: Final = {
    0x2: "debug", 0x4: "64 bit", 0x10: "provisioning key", 0x20: "launch key", 0x80: "key separation",
    0x400: "AEX notify",
}  # fmt: skip
FEATURES: Final = {0x3: "x87 SSE", 0x4: "AVX", 0x18: "MPX", 0xE0: "AVX-512", 0x200: "PKRU", 0x60000: "AMX"}
"""ATTRIBUTES.FLAGS and XFRM (Intel SDM 3D, 38.7)."""


def add_view(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct view`."""
    parser.add_argument("file", metavar="FILE", help="a SIGSTRUCT, or a signed image; - for standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct verify`."""
    add_view(parser)
    parser.add_argument("--mrsigner", metavar="HEX", help="who must have signed it")
    parser.add_argument("--mrenclave", metavar="HEX", help="what it must be for")
    parser.add_argument("--unsafe-allow-debug", action="store_true", help="accept a key that signs debug enclaves only")


def run(args: argparse.Namespace) -> int:
    """Show, or verify."""
    found = sigstruct_in(read_input(args.file, LARGEST))
    if found is None:
        raise UsageError(f"{args.file}: is neither a SIGSTRUCT (1808 bytes) nor a signed enclave image")
    return verify(found, args) if args.action == "verify" else view(found, args)


def view(found: Sigstruct, args: argparse.Namespace) -> int:
    """The fields. Nothing is verified, and the last line says so."""
    shown = document(found)
    if args.json:
        print(json.dumps(shown | {"verified": False}))
        return 0
    print("\n".join(lines(shown)))
    print("not verified: `cloister sigstruct verify` does that")
    return 0


def verify(found: Sigstruct, args: argparse.Namespace) -> int:
    """0 if the signature holds and all is as demanded, 4 if it is another's or for another. SignatureInvalid."""
    checks = verify_sigstruct(found, allow=Allowances(unsafe_allow_debug=args.unsafe_allow_debug))
    demands = {"mrsigner": (args.mrsigner, found.mrsigner), "mrenclave": (args.mrenclave, found.enclave_hash)}
    wrong = [name for name, (text, value) in demands.items() if text is not None and value != digest(name, text)]
    if args.json:
        made = [check_document(one) for one in checks]
        print(json.dumps(document(found) | {"verified": True, "checks": made, "another": wrong}))
    else:
        print("\n".join(lines(document(found))))
        print("\n".join(f"{one.number:<12} {one.title}: {one.state}" for one in checks))
        for name in wrong:
            print(f"DIFFERS: {name} is {demands[name][1].hex()}, demanded is {demands[name][0]}")
    return ANOTHER if wrong else 0


def digest(name: str, text: str) -> bytes:
    """The bytes that an option gives."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise UsageError(f"--{name} {text}: has 64 hexadecimal digits")
    return value


def document(found: Sigstruct) -> dict[str, Any]:
    """All fields, and what follows from them."""
    flags, features = (int.from_bytes(found.attributes[at : at + 8], "little") for at in (0, 8))
    return claims(found) | {
        "flags": names(flags, FLAGS), "features": names(features, FEATURES),
        "signed_on": found.signed_on.isoformat(), "debug_signed": found.debug_signed,
    }  # fmt: skip


def names(value: int, known: dict[int, str]) -> list[str]:
    """The bits by their names; unknown ones as a number."""
    rest = value & ~sum(known)
    return [name for bits, name in known.items() if value & bits == bits] + ([f"{rest:#x}"] if rest else [])


def lines(shown: dict[str, Any]) -> Iterator[str]:
    """The same for people, without the long numbers."""
    for name, value in shown.items():
        if name not in LONG | SHOWN_OTHERWISE:
            text = ", ".join(value) if isinstance(value, list) else str(value)
            yield from labelled(name, clean_lines(text), width=WIDTH, column=18)
