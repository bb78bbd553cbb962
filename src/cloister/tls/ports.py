"""Where a certificate's evidence comes from: anything that can be called with 64 bytes of report data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["REPORT_DATA", "EvidenceProvider", "Produced", "evidence_of"]

REPORT_DATA: Final = 64
"""Bytes that a provider is given: SGX, TDX, SNP and CCA have exactly this much room, Keystone has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """Evidence in its vendor's format, and certificates (DER) that help to verify it, such as a chip's.

    The certificates travel behind the leaf in the TLS Certificate message (RFC 8446, section 4.4.2). A verifier
    believes them no more than others: everything ends at one of its trust anchors.
    """

    evidence: bytes = field(repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)


EvidenceProvider = Callable[[bytes], bytes | Produced]
"""Makes evidence that carries these 64 bytes of report data; raises what its TEE's access raises.

It must run where the private key is: evidence over a key says that the TEE knows the key, not who else does.
"""


class _Machine(Protocol):
    """What has `evidence(report_data)`: every emulated machine that attests."""

    def evidence(self, report_data: bytes) -> bytes:
        """Evidence in the vendor's format."""


def evidence_of(machine: _Machine) -> EvidenceProvider:
    """The provider for a launched emulated machine (`cloister.emulate`).

    The TLS endpoint is then outside of the machine, so its evidence says what was launched, not who holds the key:
    good for tests and teaching, and proof of nothing, as all emulated evidence.
    """
    return machine.evidence
