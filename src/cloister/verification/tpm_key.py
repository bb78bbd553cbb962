"""Whose key signed a TPM quote: pinned itself, or certified under a pinned root; and what that key may do."""

import functools
import hashlib
from typing import Final

from cloister._der import BIT_STRING, Der
from cloister._x509 import Certificate
from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.errors import ChainInvalid
from cloister.evidence.eventlog import ALGORITHMS
from cloister.evidence.tpm_key import TpmPublic
from cloister.model import Tee
from cloister.verification import chains

__all__ = ["anchored", "primary_key"]

KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
TPM_USES: Final = frozenset({"2.23.133.8.3", "2.23.133.8.1", "2.5.29.37.0"})
"""tcg-kp-AIKCertificate, tcg-kp-EKCertificate (TCG EK Credential Profile 2.5, section 3.2.16), and "any".

Google certifies attestation keys with the second. An endorsement key proper has no digitalSignature in its key usage.
"""

HIERARCHIES: Final = (0x40000001, 0x4000000B, 0x4000000C, 0x40000007)
"""Handles of owner, endorsement, platform and null hierarchy (part 2, section 7.4): the parents of primary keys."""


@functools.lru_cache(maxsize=1024)
def anchored(
    spki: bytes, certificates: tuple[Certificate, ...], anchors: TrustAnchors
) -> tuple[TrustAnchor, chains.Chain]:
    """The anchor that vouches for a key, and the chain that leads there: empty if the key is pinned itself.

    Raises ChainInvalid. Says nothing about dates and revocation.
    """
    pinned = anchors.find(Tee.TPM, spki)
    if pinned is not None:
        return pinned, chains.Chain()
    refusal = ChainInvalid(
        "the attestation key is neither pinned nor certified by any certificate at hand",
        expected=anchors.named(Tee.TPM), actual=spki, set_by="trust anchors",
    )  # fmt: skip
    for leaf in (one for one in certificates if one.spki == spki):
        try:
            check_purpose(leaf)
            chain = chains.build_chain(leaf, certificates, anchors, Tee.TPM)
        except ChainInvalid as error:
            refusal = error
            continue
        root = anchors.find(Tee.TPM, chain[-1].spki)
        assert root is not None  # noqa: S101 - build_chain ended there
        return root, chain
    raise refusal


def check_purpose(leaf: Certificate) -> None:
    """Refuse a certificate that is not for a key that signs: a CA's, an endorsement key's, a web server's."""
    usage, extended = leaf.extensions.get(KEY_USAGE), leaf.extensions.get(EXTENDED_KEY_USAGE)
    signs = usage is None or Der(usage.value, "keyUsage").element("bits", BIT_STRING)[1][1:2] >= b"\x80"
    if leaf.is_ca or not signs:
        raise ChainInvalid(f"certificate {leaf.name!r} is a CA's, or not for a key that signs")
    uses = []
    if extended is not None:
        inside = Der(extended.value, "extKeyUsage").inside("list")
        while not inside.at_end:
            uses.append(inside.oid("purpose"))
    if uses and not TPM_USES & set(uses):
        raise ChainInvalid(
            f"certificate {leaf.name!r} is not for an attestation key", expected=sorted(TPM_USES), actual=uses
        )


@functools.lru_cache(maxsize=1024)
def primary_key(public: TpmPublic, qualified_signer: bytes) -> bool:
    """Whether the signer named in a quote is this public area, as a primary key of one of the TPM's hierarchies.

    (Part 1, section 26.5: the name is a hash of the public area, the qualified name a hash of the parent's and it.)
    """
    algorithm, size = ALGORITHMS.get(public.name_algorithm, ("", 0))
    if algorithm not in hashlib.algorithms_guaranteed or len(qualified_signer) != size + 2:
        return False
    prefix = public.name_algorithm.to_bytes(2)
    name = prefix + hashlib.new(algorithm, public.encoded).digest()
    return any(
        prefix + hashlib.new(algorithm, handle.to_bytes(4) + name).digest() == qualified_signer
        for handle in HIERARCHIES
    )
