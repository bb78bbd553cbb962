"""`cloister id-block view` and `verify`."""

import argparse
import json
from typing import Any

from cloister.cli._arguments import read_input
from cloister.cli._id_block_create import launch_digest_of
from cloister.cli._terminal import clean
from cloister.errors import UsageError
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.verification.snp_id_block import check_id_block

__all__ = ["add_verify", "add_view", "run"]

ANOTHER = 4


def add_view(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister id-block view`."""
    parser.add_argument("block", metavar="BLOCK", help="the block, 96 bytes")
    parser.add_argument("auth", metavar="AUTH", help="keys and signatures, 4 KiB")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister id-block verify`."""
    add_view(parser)
    parser.add_argument(
        "--measured", metavar="FILE", help="the guest that it must be for, as `measure --json` wrote it"
    )
    parser.add_argument("--measurement", metavar="HEX", help="its launch digest, instead")
    parser.add_argument("--id-key-digest", metavar="HEX", help="whose ID key it must be")
    parser.add_argument("--author-key-digest", metavar="HEX", help="which author must vouch for it")


def run(args: argparse.Namespace) -> int:
    """Show, or verify: 4 if it is for another guest or by another owner than demanded. SignatureInvalid."""
    block = IdBlock.parse(read_input(args.block, IdBlock.SIZE))
    auth = IdAuth.parse(read_input(args.auth, IdAuth.SIZE))
    shown = document(block, auth)
    if args.action == "view":
        show(shown | {"verified": False}, args)
        return 0
    check_id_block(block, auth, author=bool(auth.auth_key_algo))
    wrong = [name for name, value in demands(args).items() if shown[name] != value]
    show(shown | {"verified": True, "another": wrong}, args)
    return ANOTHER if wrong else 0


def demands(args: argparse.Namespace) -> dict[str, str]:
    """What the options demand, by the names in `document`."""
    made = {}
    if args.measured is not None or args.measurement is not None:
        made["launch_digest"] = launch_digest_of(args.measured, args.measurement).hex()
    for name in ("id_key_digest", "author_key_digest"):
        text = getattr(args, name)
        if text is not None:
            if len(text) != 96:
                raise UsageError(f"--{name.replace('_', '-')} {text}: has 96 hexadecimal digits")
            made[name] = text.lower()
    return made


def document(block: IdBlock, auth: IdAuth) -> dict[str, Any]:
    """The fields, and the digests by which reports name the keys."""
    author = auth.author_key.digest.hex() if auth.auth_key_algo else ""
    return {
        "launch_digest": block.launch_digest.hex(), "policy": f"{block.policy:#x}", "guest_svn": block.guest_svn,
        "family_id": block.family_id.hex(), "image_id": block.image_id.hex(), "version": block.version,
        "id_key_digest": auth.id_key.digest.hex(), "author_key_digest": author,
    }  # fmt: skip


def show(shown: dict[str, Any], args: argparse.Namespace) -> None:
    """As JSON, or a line for each."""
    if args.json:
        print(json.dumps(shown))
        return
    for name, value in shown.items():
        print(clean(f"{name:<18} {value}"))
