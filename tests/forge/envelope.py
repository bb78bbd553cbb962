"""Evidence to put into envelopes, and envelopes around it."""

import base64
import functools
import json
import struct
import uuid
from collections.abc import Mapping

from tests.forge.intel import IntelForge, enclave_report, td_report
from tests.forge.x509 import Authority

__all__ = [
    "VCEK_GUID",
    "authority",
    "base64url",
    "cert_table",
    "compact",
    "document",
    "fields_of_report",
    "intel",
    "sgx_quote",
    "snp_report",
    "tdx_quote",
]

VCEK_GUID = "63da758d-e664-4564-adc5-f4b93be8accd"


@functools.cache
def intel() -> IntelForge:
    """One forged Intel for all tests: making keys takes longer than the tests."""
    return IntelForge()


@functools.cache
def authority() -> Authority:
    """Somebody whose certificates come along."""
    return Authority("Forged ARK")


@functools.cache
def sgx_quote(report_data: bytes = bytes(64), version: int = 3) -> bytes:
    """An SGX quote with this report data."""
    return intel().sgx_quote(version=version, body=enclave_report(report_data=report_data))


@functools.cache
def tdx_quote(report_data: bytes = bytes(64)) -> bytes:
    """A TDX quote with this report data."""
    return intel().tdx_quote(body=td_report(report_data=report_data))


def snp_report(version: int = 3, report_data: bytes = bytes(64)) -> bytes:
    """An SNP report, unsigned: a Milan chip, VMPL 0, no debugging."""
    made = bytearray(1184)
    struct.pack_into("<IIQ", made, 0, version, 0, 0x30000)
    struct.pack_into("<I", made, 0x34, 1)
    made[0x50:0x90] = report_data
    made[0x90:0xC0] = bytes(range(48))
    if version > 2:
        made[0x188:0x18B] = bytes([0x19, 1, 1])
    for offset in (0x38, 0x180, 0x1E0, 0x1F0):
        made[offset : offset + 8] = bytes([4, 0, 0, 0, 0, 0, 24, 219])
    made[0x1A0:0x1E0] = bytes(range(64))
    made[0x1E8:0x1EB] = made[0x1EC:0x1EF] = bytes([29, 55, 1])
    made[0x2A0:0x2D0] = made[0x2E8:0x318] = bytes(range(1, 49))
    return bytes(made)


def fields_of_report(report: bytes) -> dict[str, object]:
    """An SNP report field by field, as Trustee's agents write it in JSON."""

    def tcb(offset: int) -> dict[str, object]:
        value = report[offset : offset + 8]
        return {"fmc": None, "bootloader": value[0], "tee": value[1], "snp": value[6], "microcode": value[7]}

    def number(offset: int, size: int) -> int:
        return int.from_bytes(report[offset : offset + size], "little")

    def octets(offset: int, size: int) -> list[int]:
        return list(report[offset : offset + size])

    return {
        "version": number(0, 4), "guest_svn": number(4, 4), "policy": number(8, 8), "family_id": octets(0x10, 16),
        "image_id": octets(0x20, 16), "vmpl": number(0x30, 4), "sig_algo": number(0x34, 4), "current_tcb": tcb(0x38),
        "plat_info": number(0x40, 8), "key_info": number(0x48, 4), "report_data": octets(0x50, 64),
        "measurement": octets(0x90, 48), "host_data": octets(0xC0, 32), "id_key_digest": octets(0xE0, 48),
        "author_key_digest": octets(0x110, 48), "report_id": octets(0x140, 32), "report_id_ma": octets(0x160, 32),
        "reported_tcb": tcb(0x180), "cpuid_fam_id": report[0x188], "cpuid_mod_id": report[0x189],
        "cpuid_step": report[0x18A], "chip_id": octets(0x1A0, 64), "committed_tcb": tcb(0x1E0),
        "current": {"build": report[0x1E8], "minor": report[0x1E9], "major": report[0x1EA]},
        "committed": {"build": report[0x1EC], "minor": report[0x1ED], "major": report[0x1EE]},
        "launch_tcb": tcb(0x1F0), "signature": {"r": octets(0x2A0, 72), "s": octets(0x2E8, 72)},
    }  # fmt: skip


def cert_table(entries: Mapping[str, bytes], *, little: bool = False, end: bytes = bytes(24)) -> bytes:
    """AMD's certificate table with these contents by GUID."""
    heads, contents, place = b"", b"", 24 * (len(entries) + 1)
    for guid, content in entries.items():
        written = uuid.UUID(guid).bytes_le if little else uuid.UUID(guid).bytes
        heads += written + struct.pack("<II", place + len(contents), len(content))
        contents += content
    return heads + end + contents


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def compact(data: bytes) -> bytes:
    """Data behind its length, as SCALE writes it."""
    size = len(data)
    if size < 1 << 6:
        return bytes([size << 2]) + data
    if size < 1 << 14:
        return (size << 2 | 1).to_bytes(2, "little") + data
    return (size << 2 | 2).to_bytes(4, "little") + data


def document(value: object) -> bytes:
    """JSON text."""
    return json.dumps(value).encode()
