"""A forged host that vouches for software enclaves with a key of its own.

forge = SoftwareForge()
evidence = forge.evidence(report_data=b"nonce")
forge.anchors, forge.endorsements               # what verifies it
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.forge.cose import signed

from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence.software import Admission, Guard, SigningAlgorithm, SoftwareEvidence, libraries_digest
from cloister.model import Tee

__all__ = ["SoftwareForge"]


def digest(name: str) -> bytes:
    """A digest that is the same in every run."""
    return hashlib.sha256(name.encode()).digest()


@dataclass(kw_only=True)
class SoftwareForge:
    """A host with an attestation key, Ed25519 or P-256."""

    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey = field(
        default_factory=ed25519.Ed25519PrivateKey.generate
    )

    @property
    def spki(self) -> bytes:
        """The host's public key."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(encoding, form)

    @property
    def anchors(self) -> TrustAnchors:
        """Pins the host's key as what it is."""
        return TrustAnchors.of([self.spki], kind=AnchorKind.SOFTWARE, name="forged host", tees=[Tee.SOFTWARE])

    @property
    def endorsements(self) -> Endorsements:
        """Holds the host's key."""
        return Endorsements(keys=(self.spki,))

    def said(self, report_data: bytes = b"", **changes: Any) -> SoftwareEvidence:
        """Unsigned evidence; `changes` replace fields."""
        ed = isinstance(self.key, ed25519.Ed25519PrivateKey)
        fields: dict[str, Any] = {
            "algorithm": SigningAlgorithm.EDDSA if ed else SigningAlgorithm.ES256,
            "key_id": hashlib.sha256(self.spki).digest(),
            "report_data": report_data.ljust(64, b"\0"),
            "executable": digest("program"),
            "libraries": libraries_digest({"/lib/libc.so.6": digest("libc")}),
            "runtime": digest("runtime"),
            "loaded": bytes(32),
            "guard": Guard.ARMED,
            "admission": Admission.STRICT,
        }
        return SoftwareEvidence(**fields | changes)

    def evidence(self, report_data: bytes = b"", **changes: Any) -> bytes:
        """Signed evidence over report data; `changes` replace fields before it is signed."""
        said = self.said(report_data, **changes)
        return replace(said, signature=signed(said.message, self.key).signature).serialize()
