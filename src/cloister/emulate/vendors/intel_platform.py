"""What an emulated Intel processor is: its family, its security versions, and how a PCK certificate states them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.emulate.vendors.x509 import der_integer, der_of, der_oid

__all__ = ["CLIENT", "SERVER", "SGX_EXTENSIONS", "TEE_TCB_SVN", "Platform", "SgxType"]

SGX_EXTENSIONS: Final = "1.2.840.113741.1.13.1"
"""The object identifier of the SGX extensions (PCK Certificate and CRL Profile, section 1.3.5)."""
OCTETS, SEQUENCE, ENUMERATED, BOOLEAN = 0x04, 0x30, 0x0A, 0x01
TRUE, FALSE = b"\xff", b"\0"
TEE_TCB_SVN: Final = bytes([7, 1, 5, *(13 * [0])])
"""TEE_TCB_SVN of the emulated TDX module: its SVN, its major version, then the SVNs of its loader and its platform."""


class SgxType(IntEnum):
    """How the processor protects EPC memory (PCK Certificate and CRL Profile, SGX Type)."""

    STANDARD = 0  # client processors: integrity tree, no replay
    SCALABLE = 1  # servers: encryption without integrity
    SCALABLE_WITH_INTEGRITY = 2  # servers with a MAC on every line


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A processor family at one TCB level.

    `fmspc` 6 bytes, `pce_id` 2 bytes, `components` 16 SVNs of one byte each, `pcesvn` that of the emulated PCE.
    """

    fmspc: bytes
    pce_id: bytes = bytes(2)
    components: tuple[int, ...] = (5, 5, 2, 2, 3, 1, 0, 3, *(8 * (0,)))
    pcesvn: int = 11
    sgx_type: SgxType = SgxType.SCALABLE

    @property
    def cpusvn(self) -> bytes:
        """CPUSVN, 16 bytes. Intel's is opaque; this one is the components, one byte each."""
        return bytes(self.components)

    @property
    def multi_package(self) -> bool:
        """Whether the Platform CA certifies it, as it does servers, or the Processor CA."""
        return self.sgx_type is not SgxType.STANDARD

    def extension(self, ppid: bytes, instance: bytes = b"") -> bytes:
        """The SGX extensions in DER (PCK Certificate and CRL Profile, section 1.3.5).

        `ppid` is the processor's identity, 16 bytes. `instance`, 16 bytes, is the platform's; it stands in certificates
        of the Platform CA only, with the configuration beside it.
        """
        svns = [*self.components, self.pcesvn]
        tcb = [_pair(f"2.{i}", der_integer(svn)) for i, svn in enumerate(svns, 1)]
        tcb.append(_pair("2.18", der_of(OCTETS, self.cpusvn)))
        parts = [
            _pair("1", der_of(OCTETS, ppid)),
            _pair("2", der_of(SEQUENCE, *tcb)),
            _pair("3", der_of(OCTETS, self.pce_id)),
            _pair("4", der_of(OCTETS, self.fmspc)),
            _pair("5", der_of(ENUMERATED, bytes([self.sgx_type]))),
        ]
        if instance:
            parts += [_pair("6", der_of(OCTETS, instance)), _pair("7", _configuration())]
        return der_of(SEQUENCE, *parts)


def _configuration() -> bytes:
    """Dynamic platform no, cached keys yes, hyper-threading no: the machines have one hardware thread."""
    flags = (("7.1", FALSE), ("7.2", TRUE), ("7.3", FALSE))
    return der_of(SEQUENCE, *(_pair(arc, der_of(BOOLEAN, flag)) for arc, flag in flags))


def _pair(arc: str, value: bytes) -> bytes:
    return der_of(SEQUENCE, der_oid(f"{SGX_EXTENSIONS}.{arc}"), value)


SERVER: Final = Platform(fmspc=b"EMUsrv")
"""Emulated server processors: FMSPC 454d55737276, which is no real family's. SGX without integrity; TDX."""
CLIENT: Final = Platform(fmspc=b"EMUcli", sgx_type=SgxType.STANDARD)
"""Emulated client processors: FMSPC 454d55636c69. SGX with an integrity tree, no TDX."""
