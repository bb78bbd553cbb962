"""`cloister sigstruct create` and `prepare`: what an author signs, signed here or made ready for another."""

import argparse
import dataclasses
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from cloister._author_keys import rsa_signer
from cloister.cli._author_key_file import private_pem, write_new
from cloister.cli._measure_enclave import read_enclave
from cloister.cli._measure_options import add_enclave_options
from cloister.errors import UsageError
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.sigstruct import Product, check_key, complete, unsigned

__all__ = ["add_create", "add_prepare", "run"]

MRENCLAVE: Final = 32
DEBUG: Final = 2
NUMBERS: Final = {"isvprodid": 2, "isvsvn": 2, "miscselect": 4, "miscmask": 4}
"""Fields of Product that are numbers, with their bytes."""
TEXTS: Final = {"attributes": 16, "attribute_mask": 16, "isvfamilyid": 16, "isvextprodid": 16}


def add_create(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct create`."""
    add_prepare(parser)
    parser.add_argument(
        "--key",
        metavar="FILE",
        required=True,
        help="the author's private key: RSA-3072, exponent 3, PEM, mode 0600",
    )


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct prepare`: all that is signed."""
    parser.add_argument("program", metavar="IMAGE", nargs="?", help="the image, for --with")
    parser.add_argument("--mrenclave", metavar="HEX", help="the measurement, instead of an image")
    add_enclave_options(parser)
    parser.set_defaults(any_order=False)
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="the signing date (today)")
    parser.add_argument("--isvprodid", metavar="N", type=int, help="the product's number")
    parser.add_argument("--isvsvn", metavar="N", type=int, help="its security version")
    parser.add_argument(
        "--debug", action="store_true", help="the enclave may be debugged: its host reads and changes all of it"
    )
    parser.add_argument(
        "--set", metavar="FIELD=HEX", action="append", default=[],
        help=f"another field, its bytes as they stand: {', '.join({**TEXTS, **NUMBERS})}; repeatable",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="where to")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """Put it together; sign it, or leave that to somebody else."""
    one = put_together(args)
    if args.action == "prepare":
        write_new(args.output, one.signed, force=args.force)
        print(f"{args.output}: written; sign these 256 bytes: RSA-3072, PKCS #1 v1.5, SHA-256", file=sys.stderr)
        return 0
    signer = rsa_signer(private_pem(args.key), args.key)
    modulus, exponent = signer.numbers
    check_key(modulus, exponent)  # before it signs
    signed = complete(one, modulus=modulus, exponent=exponent, signature=signer.sign(one.signed))
    write_new(args.output, signed.serialize(), force=args.force)
    print(f"sgx:mrenclave={signed.enclave_hash.hex()}\nsgx:mrsigner={signed.mrsigner.hex()}")
    return 0


def put_together(args: argparse.Namespace) -> Sigstruct:
    """The SIGSTRUCT without key and signature. UsageError, or ParseError for the image."""
    if (args.mrenclave is None) is (args.framework is None):
        raise UsageError("give an image (--with NAME IMAGE), or its measurement (--mrenclave HEX)")
    if args.framework is None:
        if args.program is not None:
            raise UsageError(f"{args.program}: with --mrenclave there is no image; or say its framework, --with NAME")
        return unsigned(measurement(args.mrenclave), date=signing_date(args.date), product=product(args, Product()))
    found = read_enclave(args)
    said = product(args, found.product or Product())
    return unsigned(found.enclave.mrenclave.value, date=signing_date(args.date), product=said)


def measurement(text: str) -> bytes:
    """The bytes of --mrenclave."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != MRENCLAVE:
        raise UsageError(f"--mrenclave {text}: an MRENCLAVE has 64 hexadecimal digits")
    return value


def signing_date(text: str | None) -> date:
    """The day that --date gives, or today."""
    try:
        return datetime.now(UTC).date() if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--date {text}: a date is written 2026-01-31") from error


def product(args: argparse.Namespace, start: Product) -> Product:
    """What the framework would sign, with what the command line says on top."""
    values: dict[str, int | bytes] = {}
    for text in args.set:
        field, _, digits = text.partition("=")
        values[field] = field_value(field, digits)
    for field in ("isvprodid", "isvsvn"):
        number = getattr(args, field)
        if number is not None:
            if not 0 <= number < 1 << 16:
                raise UsageError(f"--{field} {number}: is a number from 0 to 65535")
            values[field] = number
    made: Product = dataclasses.replace(start, **values)  # type: ignore[arg-type] # the fields were checked by name and size
    if args.debug:
        flags = int.from_bytes(made.attributes, "little") | DEBUG
        made = dataclasses.replace(made, attributes=flags.to_bytes(16, "little"))
    return made


def field_value(field: str, digits: str) -> int | bytes:
    """A field's value from its bytes in hexadecimal."""
    size = {**TEXTS, **NUMBERS}.get(field)
    if size is None:
        raise UsageError(f"--set {field}: there is no such field; there are {', '.join({**TEXTS, **NUMBERS})}")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if len(data) != size:
        raise UsageError(f"--set {field}: has {size} bytes, {2 * size} hexadecimal digits")
    return int.from_bytes(data, "little") if field in NUMBERS else data
