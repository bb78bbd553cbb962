"""`cloister sigstruct attach`, `embed` and `signer`: signatures that were made elsewhere, and whose key is whose."""

import argparse
import hashlib
import stat
import sys
from pathlib import Path

from cloister._author_keys import rsa_numbers, rsa_signer
from cloister.cli._arguments import read_input
from cloister.cli._author_key_file import private_pem, public_pem, write_new
from cloister.errors import UsageError
from cloister.evidence.sigstruct import Sigstruct
from cloister.evidence.sigstruct import parse as parse_sigstruct
from cloister.measure.signed_image import embedded
from cloister.measure.sigstruct import SIGNED, check_key, complete, number, parse_unsigned
from cloister.verification.recipe import Allowances
from cloister.verification.sigstruct import verify_sigstruct

__all__ = ["add_embed", "add_options", "add_signer", "run"]

SIGNATURE = 384
LARGEST = 1 << 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct attach`."""
    parser.add_argument("prepared", metavar="DATA", help="what `prepare` wrote")
    parser.add_argument("--signature", metavar="FILE", required=True, help="384 bytes, as signing tools write them")
    parser.add_argument("--public-key", metavar="FILE", required=True, help="the signer's public key, PEM")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="where to")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def add_embed(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct embed`."""
    parser.add_argument("sigstruct", metavar="SIGSTRUCT", help="what `create` or `attach` wrote")
    parser.add_argument("image", metavar="IMAGE", help="an image of Open Enclave, EGo or the SGX SDK")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="where the signed image goes")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def add_signer(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister sigstruct signer`."""
    parser.add_argument("key", metavar="KEY", help="a private or public key, PEM")


def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    return {"attach": attach, "embed": embed, "signer": signer}[args.action](args)


def attach(args: argparse.Namespace) -> int:
    """Put it together, verify it, and only then write it."""
    one = parse_unsigned(read_input(args.prepared, SIGNED))
    signature = read_input(args.signature, SIGNATURE)
    if len(signature) != SIGNATURE:
        raise UsageError(f"{args.signature}: {len(signature)} bytes; a signature by RSA-3072 has {SIGNATURE}")
    modulus, exponent = rsa_numbers(public_pem(args.public_key), args.public_key)
    made = complete(one, modulus=modulus, exponent=exponent, signature=int.from_bytes(signature))
    verify_sigstruct(made, allow=Allowances(unsafe_allow_debug=made.debug_signed))
    write_new(args.output, made.serialize(), force=args.force)
    print(f"sgx:mrenclave={made.enclave_hash.hex()}\nsgx:mrsigner={made.mrsigner.hex()}")
    return 0


def embed(args: argparse.Namespace) -> int:
    """Put a SIGSTRUCT that verifies into an image, which keeps its permissions."""
    one = parse_sigstruct(read_input(args.sigstruct, Sigstruct.SIZE))
    verify_sigstruct(one, allow=Allowances(unsafe_allow_debug=one.debug_signed))
    made = embedded(read_input(args.image, LARGEST), one)
    write_new(args.output, made, force=args.force)
    args.output.chmod(stat.S_IMODE(Path(args.image).stat().st_mode))
    told = "`cloister measure --tee sgx --with ...` tells whether it is what was signed"
    print(f"{args.output}: written; {told}", file=sys.stderr)
    return 0


def signer(args: argparse.Namespace) -> int:
    """MRSIGNER of whoever signs with this key."""
    pem = public_pem(args.key)
    private = b"PRIVATE KEY" in pem
    modulus, exponent = rsa_signer(private_pem(args.key), args.key).numbers if private else rsa_numbers(pem, args.key)
    check_key(modulus, exponent)
    print(f"sgx:mrsigner={hashlib.sha256(number(modulus)).hexdigest()}")
    return 0
