"""What AMD SEV gives as evidence, before SNP: a report signed by the platform, or an HMAC for the guest's owner.

AMD document 55766 (SEV API), sections 6.5 (LAUNCH_MEASURE) and 6.8 (ATTESTATION). Neither is of use without the
certificates of the platform (`cloister.evidence.sev_chain`), so evidence is one of the two, followed by these:

    u32 0x534d5553, u32 version 1, LAUNCH_MEASURE, the platform's and the guest's status   | certificates
    the ATTESTATION report, 208 bytes                                                      | certificates

The first frame is Cloister's own: AMD hands out measure and nonce without what else went into the HMAC.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from cloister._wire import Record, raw, reserved, u8, u32
from cloister.errors import ParseError
from cloister.evidence.sev_chain import SevChain, parse_chain
from cloister.model import Tee

__all__ = ["LaunchMeasurement", "SevAttestation", "SevEvidence", "SevLaunch", "SevReport", "looks_like", "parse"]

MAGIC: Final = 0x534D_5553
LAUNCH_MEASURE: Final = 4
"""The context byte that keeps this HMAC apart from the others under the same key."""

PEK: Final = 0x1002
ECDSA_SHA256: Final = 2
POLICY_RESERVED: Final = 0xFFC0
LONGEST: Final = 16_384


class SevReport(Record, size=0xD0):
    """ATTESTATION's report. The nonce is the one that was asked with; the PEK signs the first 52 bytes."""

    mnonce: bytes = raw(16)
    launch_digest: bytes = raw(32)
    policy: int = u32()
    sig_usage: int = u32(equals=PEK)
    sig_algo: int = u32(equals=ECDSA_SHA256)
    reserved_3c: bytes = reserved(4)
    r: bytes = raw(72)
    s: bytes = raw(72)

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.serialize()[:0x34]


class LaunchMeasurement(Record, size=64):
    """LAUNCH_MEASURE's answer, and the rest of what it is the HMAC of, except the launch digest.

    `mnonce` is the firmware's own. Version and build are what PLATFORM_STATUS says, the policy what GUEST_STATUS says.
    """

    magic: int = u32(equals=MAGIC)
    version: int = u32(equals=1)
    measure: bytes = raw(32)
    mnonce: bytes = raw(16)
    api_major: int = u8()
    api_minor: int = u8()
    build: int = u8()
    reserved_3b: bytes = reserved(1)
    policy: int = u32()

    def message(self, launch_digest: bytes) -> bytes:
        """What the firmware computes the HMAC of (AMD 55766, section 6.5.1), for a launch digest of 32 bytes."""
        version = bytes([LAUNCH_MEASURE, self.api_major, self.api_minor, self.build])
        return version + self.policy.to_bytes(4, "little") + launch_digest + self.mnonce


class _Bits:
    """What the guest's policy says (AMD 55766, chapter 3)."""

    tee: ClassVar[Tee] = Tee.SEV

    @property
    def policy(self) -> int:
        """The policy's 32 bits."""
        raise NotImplementedError

    @property
    def debug(self) -> bool:
        """Whether the host may decrypt and change the guest's memory: NODBG, bit 0, is clear."""
        return not self.policy & 1

    @property
    def encrypted_state(self) -> bool:
        """Whether registers are encrypted too: ES, bit 2."""
        return bool(self.policy & 4)


@dataclass(frozen=True, kw_only=True)
class SevAttestation(_Bits):
    """A report and the certificates of the platform that signed it."""

    report: SevReport
    chain: SevChain

    @property
    def policy(self) -> int:
        """The policy's 32 bits."""
        return self.report.policy

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this."""
        return self.report.serialize() + self.chain.serialize()


@dataclass(frozen=True, kw_only=True)
class SevLaunch(_Bits):
    """A launch measurement and the certificates of the platform that made it."""

    measurement: LaunchMeasurement
    chain: SevChain

    @property
    def policy(self) -> int:
        """The policy's 32 bits."""
        return self.measurement.policy

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this."""
        return self.measurement.serialize() + self.chain.serialize()


SevEvidence = SevAttestation | SevLaunch
"""Either kind."""


def looks_like(data: bytes) -> bool:
    """Whether this may be SEV evidence: the frame's first bytes, or a report's constants where they belong."""
    if data[:8] == MAGIC.to_bytes(4, "little") + (1).to_bytes(4, "little"):
        return True
    constants = PEK.to_bytes(4, "little") + ECDSA_SHA256.to_bytes(4, "little") + bytes(4)
    return len(data) > SevReport.SIZE and data[0x34:0x40] == constants


def parse(data: bytes, *, base: int = 0) -> SevEvidence:
    """Read SEV evidence of exactly these bytes."""
    if len(data) > LONGEST:
        raise ParseError("SEV evidence", "length", base, f"{len(data)} bytes; at most {LONGEST}")
    launch = data[:4] == MAGIC.to_bytes(4, "little")
    record: type[LaunchMeasurement | SevReport] = LaunchMeasurement if launch else SevReport
    front = record.parse(data[: record.SIZE], base=base)
    if front.policy & POLICY_RESERVED:
        raise ParseError(record.__name__, "policy", base + record.OFFSETS["policy"], "reserved bits must be zero")
    chain = parse_chain(data[record.SIZE :], base=base + record.SIZE)
    if isinstance(front, LaunchMeasurement):
        return SevLaunch(measurement=front, chain=chain)
    return SevAttestation(report=front, chain=chain)
