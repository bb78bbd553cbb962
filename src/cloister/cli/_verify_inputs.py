"""What `cloister verify` is given beside the evidence: whom to believe, collateral, policy."""

import argparse
import sys
from pathlib import Path

from cloister._ed25519_sha3 import spki_of_ed25519
from cloister._x509 import Certificate, pem_blocks
from cloister.cli._arguments import read_input
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import LARGEST_FILE, import_files
from cloister.endorse.store import Endorsements
from cloister.errors import UsageError
from cloister.model import Tee

__all__ = ["anchors_and_keys", "endorsements_of"]

LONGEST_KEY = 65_536
WITHOUT_VENDOR = frozenset({Tee.CCA, Tee.KEYSTONE, Tee.TPM})
"""TEEs whose devices have no vendor's root that could be pinned here: their owner says which keys are theirs."""


def anchors_and_keys(args: argparse.Namespace) -> tuple[TrustAnchors, Endorsements]:
    """The hardware vendors, and the keys that the caller trusts, which also have to be at hand."""
    anchors, given = TrustAnchors.hardware(), Endorsements()
    for files, kind, tees in (
        (args.trust_key, AnchorKind.OWNER, WITHOUT_VENDOR),
        (args.trust_host_key, AnchorKind.SOFTWARE, frozenset({Tee.SOFTWARE})),
        (args.unsafe_trust_root, AnchorKind.TESTING, frozenset(Tee)),
    ):
        for file in files:
            keys, certificates = keys_in(file)
            spkis = [*keys, *(one.spki for one in certificates)]
            anchors |= TrustAnchors.of(spkis, kind=kind, name=Path(file).name, tees=tees)
            given |= Endorsements(keys=tuple(keys), certificates=tuple(certificates))
    return anchors, given


def keys_in(file: str) -> tuple[list[bytes], list[Certificate]]:
    """Public keys (DER SubjectPublicKeyInfo) and certificates in a file: PEM, DER, or 64 digits of an Ed25519 key."""
    data = read_input(file, LONGEST_KEY)
    keys = pem_blocks(data, "PUBLIC KEY")
    certificates = [Certificate.parse(block) for block in pem_blocks(data, "CERTIFICATE")]
    text = b"".join(data.split())
    if not keys and not certificates and len(text) == 64 and not text.strip(b"0123456789abcdefABCDEF"):
        keys = [spki_of_ed25519(bytes.fromhex(text.decode("ascii")))]
    if not keys and not certificates and data[:1] == b"\x30":
        certificates = [Certificate.parse(data)]
    if not keys and not certificates:
        raise UsageError(f"{file} holds no public key and no certificate; give PEM, or 64 hexadecimal digits (Ed25519)")
    return keys, certificates


def endorsements_of(args: argparse.Namespace) -> Endorsements:
    """Collateral from the cache, and from the files given."""

    def report(message: str) -> None:
        print(f"cloister verify: {message}", file=sys.stderr)

    kept = cache.load(Path(args.collateral) if args.collateral else None, report=report)
    files = [(name, read_input(name, LARGEST_FILE)) for name in args.endorsement]
    return cache.endorsements(import_files(files)) | kept
