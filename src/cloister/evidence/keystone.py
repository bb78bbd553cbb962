"""RISC-V Keystone attestation reports: an enclave's report inside its security monitor's.

`struct report_t` in Keystone's sdk/include/verifier/report.h; sm/src/attest.c writes it. No version, no magic number:
the length is all there is to recognise one by.
"""

from typing import ClassVar, Final

from cloister._wire import Record, nested, raw, u64
from cloister.errors import ParseError
from cloister.model import Tee

__all__ = ["EnclaveReport", "KeystoneReport", "MonitorReport", "looks_like", "parse"]

LONGEST_DATA: Final = 1024


class EnclaveReport(Record, size=1160):
    """What the security monitor says about the enclave (`struct enclave_report_t`), signed with the monitor's key.

    Of `data` the first `data_len` bytes are signed and are the enclave's. The rest is whatever lay on the monitor's
    stack: nobody vouches for it, and `signed_data` leaves it out.
    """

    hash: bytes = raw(64)
    data_len: int = u64()
    data: bytes = raw(LONGEST_DATA)
    signature: bytes = raw(64)

    @property
    def signed_data(self) -> bytes:
        """The data that the enclave gave."""
        return self.data[: self.data_len]

    @property
    def signed(self) -> bytes:
        """What the monitor signed: hash, length, and as much data as that says."""
        return self.hash + self.data_len.to_bytes(8, "little") + self.signed_data


class MonitorReport(Record, size=160):
    """What the boot ROM says about the security monitor (`struct sm_report_t`), signed with the device's key."""

    hash: bytes = raw(64)
    public_key: bytes = raw(32)
    signature: bytes = raw(64)

    @property
    def signed(self) -> bytes:
        """What the device signed."""
        return self.hash + self.public_key


class KeystoneReport(Record, size=1352):
    """A Keystone report (`struct report_t`). `device_key` is a hint: nothing signs it."""

    tee: ClassVar[Tee] = Tee.KEYSTONE

    enclave: EnclaveReport = nested(EnclaveReport)
    monitor: MonitorReport = nested(MonitorReport)
    device_key: bytes = raw(32)


def looks_like(data: bytes) -> bool:
    """Whether this has the length of a Keystone report, and a data length that fits into it."""
    return len(data) == KeystoneReport.SIZE and int.from_bytes(data[64:72], "little") <= LONGEST_DATA


def parse(data: bytes, *, base: int = 0) -> KeystoneReport:
    """Read a report of exactly 1,352 bytes."""
    report = KeystoneReport.parse(data, base=base)
    if report.enclave.data_len > LONGEST_DATA:
        raise ParseError(
            "EnclaveReport", "data_len", base + EnclaveReport.OFFSETS["data_len"],
            f"is {report.enclave.data_len}; there is room for {LONGEST_DATA}",
        )  # fmt: skip
    return report
