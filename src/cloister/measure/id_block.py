"""An ID block and its signatures: what a guest's owner hands to the host so that nothing else is launched.

AMD 56860, section 8.18; QEMU takes both structures in base64 (sev-snp-guest, id-block and id-auth). The owner's ID key
signs the block; an author key, which may stay in a safe, signs the ID key. Signatures come from elsewhere.
"""

from typing import Final

from cloister.errors import UsageError
from cloister.evidence.sev_keys import EcKey, EcSignature
from cloister.evidence.snp import ECDSA_P384_SHA384
from cloister.evidence.snp_id_block import IdAuth, IdBlock

__all__ = ["DEFAULT_POLICY", "SNP_DIGEST", "id_auth", "id_block", "key_of", "signature_of"]

SNP_DIGEST: Final = 48
IDENTIFIER: Final = 16
HALF: Final = 48
DEFAULT_POLICY: Final = 0x30000
"""QEMU's: simultaneous threads allowed, and the bit that must be one."""


def id_block(
    digest: bytes, *, policy: int = DEFAULT_POLICY, family: bytes = b"", image: bytes = b"", version: int = 0
) -> IdBlock:
    """The block for this launch digest (48 bytes). Identifiers have up to 16 bytes; `version` is the guest's own."""
    if len(digest) != SNP_DIGEST:
        raise UsageError(f"an SNP launch digest has {SNP_DIGEST} bytes, not {len(digest)}")
    if max(len(family), len(image)) > IDENTIFIER:
        raise UsageError(f"family and image identifiers have at most {IDENTIFIER} bytes")
    if not (0 <= policy < 1 << 64 and 0 <= version < 1 << 32):
        raise UsageError(f"policy {policy:#x} has 64 bits, the guest's version {version} has 32")
    return IdBlock(
        launch_digest=digest, family_id=family.ljust(IDENTIFIER, b"\0"), image_id=image.ljust(IDENTIFIER, b"\0"),
        version=1, guest_svn=version, policy=policy,
    )  # fmt: skip


def key_of(point: bytes) -> EcKey:
    """A P-384 key as the firmware has it: 1,028 bytes, which an author signs."""
    return EcKey.of(point)


def signature_of(halves: bytes) -> EcSignature:
    """A signature as the firmware has it, of its halves, 48 bytes each, big-endian."""
    if len(halves) != 2 * HALF:
        raise UsageError(f"an ECDSA signature over P-384 has {2 * HALF} bytes, not {len(halves)}")
    r, s = (half[::-1].ljust(72, b"\0") for half in (halves[:HALF], halves[HALF:]))
    return EcSignature(r=r, s=s)


def id_auth(
    key: EcKey, signature: EcSignature, author: EcKey | None = None, author_signature: EcSignature | None = None
) -> IdAuth:
    """The structure that goes with a block: its signature and key, and the author's, if there is one."""
    if (author is None) is not (author_signature is None):
        raise UsageError("an author's key goes with the author's signature over the ID key")
    none = EcKey(curve=0, qx=bytes(72), qy=bytes(72))
    return IdAuth(
        id_key_algo=ECDSA_P384_SHA384,
        auth_key_algo=0 if author is None else ECDSA_P384_SHA384, id_block_sig=signature, id_key=key,
        id_key_sig=EcSignature(r=bytes(72), s=bytes(72)) if author_signature is None else author_signature,
        author_key=none if author is None else author,
    )  # fmt: skip
