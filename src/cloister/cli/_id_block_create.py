"""`cloister id-block create`, `prepare` and `attach`."""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Final

from cloister._author_keys import ec_point, ec_signer, raw_signature
from cloister.cli._arguments import read_input
from cloister.cli._author_key_file import private_pem, public_pem, write_new
from cloister.errors import UsageError
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.measure.components import read_measured
from cloister.measure.id_block import DEFAULT_POLICY, id_auth, id_block, key_of, signature_of
from cloister.model import Tee
from cloister.verification.snp_id_block import check_id_block

__all__ = ["add_attach", "add_create", "add_prepare", "launch_digest_of", "run"]

LARGEST: Final = 8 << 20
LONGEST_SIGNATURE: Final = 256


def add_block(parser: argparse.ArgumentParser) -> None:
    """What the block says."""
    parser.add_argument(
        "measured", metavar="MEASURED", nargs="?", help="the guest, as `cloister measure --tee sev-snp --json` wrote it"
    )
    parser.add_argument("--measurement", metavar="HEX", help="its launch digest, instead")
    parser.add_argument("--policy", metavar="HEX", help=f"the guest's policy ({DEFAULT_POLICY:#x})")
    parser.add_argument("--family-id", metavar="TEXT", default="", help="your name for a family of guests, 16 bytes")
    parser.add_argument("--image-id", metavar="TEXT", default="", help="your name for the image, 16 bytes")
    parser.add_argument("--guest-svn", metavar="N", type=int, default=0, help="the guest's security version (0)")
    parser.add_argument("--block", metavar="FILE", type=Path, required=True, help="where the block goes, 96 bytes")
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def add_create(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister id-block create`."""
    add_block(parser)
    parser.add_argument("--id-key", metavar="FILE", required=True, help="the owner's key: P-384, PEM, mode 0600")
    parser.add_argument("--author-key", metavar="FILE", help="a key that vouches for that one")
    parser.add_argument("--auth", metavar="FILE", type=Path, required=True, help="where keys and signatures go, 4 KiB")
    parser.add_argument("--json", action="store_true", help="print both in base64, as QEMU takes them, and the digests")


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister id-block prepare`."""
    add_block(parser)
    parser.add_argument("--id-public", metavar="FILE", help="the owner's public key, for --id-key-data")
    parser.add_argument("--id-key-data", metavar="FILE", type=Path, help="where the bytes go that an author signs")


def add_attach(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister id-block attach`."""
    parser.add_argument("block", metavar="BLOCK", help="what `prepare` wrote")
    parser.add_argument("--id-public", metavar="FILE", required=True, help="the owner's public key, PEM")
    parser.add_argument("--id-signature", metavar="FILE", required=True, help="over the block: ECDSA, SHA-384, DER")
    parser.add_argument("--author-public", metavar="FILE", help="the author's public key, PEM")
    parser.add_argument("--author-signature", metavar="FILE", help="over what --id-key-data wrote")
    parser.add_argument("--auth", metavar="FILE", type=Path, required=True, help="where keys and signatures go, 4 KiB")
    parser.add_argument("--json", action="store_true", help="print both in base64, as QEMU takes them, and the digests")
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    if args.action == "attach":
        return attach(args)
    block = block_of(args)
    if args.action == "prepare":
        return prepare(block, args)
    signer = ec_signer(private_pem(args.id_key), args.id_key)
    key = key_of(signer.point)
    author = None if args.author_key is None else ec_signer(private_pem(args.author_key), args.author_key)
    auth = id_auth(
        key, signature_of(signer.sign(block.serialize())), None if author is None else key_of(author.point),
        None if author is None else signature_of(author.sign(key.serialize())),
    )  # fmt: skip
    write_new(args.block, block.serialize(), force=args.force)
    write_new(args.auth, auth.serialize(), force=args.force)
    report(block, auth, args)
    return 0


def prepare(block: IdBlock, args: argparse.Namespace) -> int:
    """The block, which the owner signs; the ID key, which an author does."""
    if (args.id_public is None) is not (args.id_key_data is None):
        raise UsageError("--id-public and --id-key-data go together: the one is written into the other")
    key = None if args.id_public is None else key_of(ec_point(public_pem(args.id_public), args.id_public))
    write_new(args.block, block.serialize(), force=args.force)
    print(f"{args.block}: written; sign it with the ID key: ECDSA over P-384, SHA-384", file=sys.stderr)
    if key is not None:
        write_new(args.id_key_data, key.serialize(), force=args.force)
        print(f"{args.id_key_data}: written; sign it with the author key", file=sys.stderr)
    return 0


def attach(args: argparse.Namespace) -> int:
    """Put it together, verify it, and only then write it."""
    block = IdBlock.parse(read_input(args.block, IdBlock.SIZE))
    key = key_of(ec_point(public_pem(args.id_public), args.id_public))
    author = (
        None if args.author_public is None else key_of(ec_point(public_pem(args.author_public), args.author_public))
    )
    by_owner, by_author = (
        None if name is None else signature_of(raw_signature(read_input(name, LONGEST_SIGNATURE)))
        for name in (args.id_signature, args.author_signature)
    )
    if by_owner is None:
        raise UsageError("no signature of the owner is given")
    auth = id_auth(key, by_owner, author, by_author)
    check_id_block(block, auth, author=author is not None)
    write_new(args.auth, auth.serialize(), force=args.force)
    report(block, auth, args)
    return 0


def block_of(args: argparse.Namespace) -> IdBlock:
    """The block that the command line describes. UsageError."""
    try:
        policy = DEFAULT_POLICY if args.policy is None else int(args.policy, 16)
    except ValueError as error:
        raise UsageError(f"--policy {args.policy}: is no hexadecimal number, such as 0x30000") from error
    family, image = (text.encode("utf-8", "surrogateescape") for text in (args.family_id, args.image_id))
    digest = launch_digest_of(args.measured, args.measurement)
    return id_block(digest, policy=policy, family=family, image=image, version=args.guest_svn)


def launch_digest_of(measured: str | None, measurement: str | None) -> bytes:
    """The launch digest in a measurement's document, or in hexadecimal. UsageError unless exactly one is given."""
    if (measured is None) is (measurement is None):
        raise UsageError("give a measurement (cloister measure --tee sev-snp --json), or --measurement HEX")
    if measured is not None:
        found = read_measured(read_input(measured, LARGEST).decode("utf-8", "replace"), measured)
        if found.tee is not Tee.SNP:
            raise UsageError(f"{measured}: is of {found.tee}; ID blocks are SEV-SNP's")
        return found.digest.value
    try:
        return bytes.fromhex(measurement or "")
    except ValueError as error:
        raise UsageError(f"--measurement {measurement}: is not hexadecimal") from error


def report(block: IdBlock, auth: IdAuth, args: argparse.Namespace) -> None:
    """What a policy may demand of reports, and for QEMU the structures."""
    claims = {"measurement": block.launch_digest.hex(), "id_key_digest": auth.id_key.digest.hex()}
    if auth.auth_key_algo:
        claims["author_key_digest"] = auth.author_key.digest.hex()
    if args.json:
        structures = {"id_block": block.serialize(), "id_auth": auth.serialize()}
        encoded = {name: base64.b64encode(data).decode() for name, data in structures.items()}
        print(json.dumps({"claims": claims, **encoded}))
        return
    print("\n".join(f"snp:{name}={value}" for name, value in claims.items()))
