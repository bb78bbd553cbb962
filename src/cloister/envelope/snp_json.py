"""An SNP report written field by field in JSON, as the Rust crate `sev` serializes it: the 1184 bytes rebuilt.

Every field has its place (AMD SEV-SNP Firmware ABI, document 56860, table 23), so the bytes are exact: if one were not,
the report's signature would not verify. A field that is not known and not empty is refused: it would be lost.
"""

from collections.abc import Mapping
from typing import Final

from cloister import _json
from cloister.envelope.json_members import octets
from cloister.errors import ParseError

__all__ = ["report_of"]

NAME: Final = "attestation_report"
SIZE: Final = 1184
NUMBERS: Final = {
    "version": (0x00, 4),
    "guest_svn": (0x04, 4),
    "policy": (0x08, 8),
    "vmpl": (0x30, 4),
    "sig_algo": (0x34, 4),
    "plat_info": (0x40, 8),
    "key_info": (0x48, 4),
    "launch_mit_vector": (0x1F8, 8),
    "current_mit_vector": (0x200, 8),
    "cpuid_fam_id": (0x188, 1),
    "cpuid_mod_id": (0x189, 1),
    "cpuid_step": (0x18A, 1),
    "current_build": (0x1E8, 1),
    "current_minor": (0x1E9, 1),
    "current_major": (0x1EA, 1),
    "committed_build": (0x1EC, 1),
    "committed_minor": (0x1ED, 1),
    "committed_major": (0x1EE, 1),
}
"""Field: offset and size in bytes. The last six stand in `current` and `committed` in newer versions."""

ALIASES: Final = {"_author_key_en": "key_info", "author_key_en": "key_info"}
BYTES: Final = {
    "family_id": (0x10, 16),
    "image_id": (0x20, 16),
    "report_data": (0x50, 64),
    "measurement": (0x90, 48),
    "host_data": (0xC0, 32),
    "id_key_digest": (0xE0, 48),
    "author_key_digest": (0x110, 48),
    "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32),
    "chip_id": (0x1A0, 64),
}
TCBS: Final = {"current_tcb": 0x38, "reported_tcb": 0x180, "committed_tcb": 0x1E0, "launch_tcb": 0x1F0}
TCB: Final = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
TURIN_TCB: Final = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
VERSIONS: Final = {"current": 0x1E8, "committed": 0x1EC}
VERSION: Final = {"build": 0, "minor": 1, "major": 2}
SIGNATURE: Final = {"r": (0x2A0, 72), "s": (0x2E8, 72)}


def report_of(value: object) -> bytes:
    """The report's bytes. `value` is the JSON object under `attestation_report`."""
    if not isinstance(value, Mapping):
        raise ParseError(NAME, "value", 0, "is not an object")
    made = bytearray(SIZE)
    for key, member in value.items():
        name = ALIASES.get(key, key)
        if name in NUMBERS:
            place_number(made, *NUMBERS[name], member, name)
        elif name in BYTES:
            place_bytes(made, *BYTES[name], member, name)
        elif name in TCBS:
            turin = isinstance(member, Mapping) and member.get("fmc") is not None
            place_numbers(made, TCBS[name], TURIN_TCB if turin else TCB, member, name)
        elif name in VERSIONS:
            place_numbers(made, VERSIONS[name], VERSION, member, name)
        elif name == "signature":
            place_signature(made, member)
        elif not empty(member):
            raise ParseError(NAME, str(name)[:64], 0, "is not a field that is known, and is not empty")
    for needed in ("version", "report_data", "measurement", "reported_tcb", "chip_id", "signature"):
        _json.member(value, needed, NAME)
    return bytes(made)


def empty(member: object) -> bool:
    """Whether a reserved or unknown member says nothing."""
    return not (any(map(bool, member)) if isinstance(member, list) else member)


def place_number(made: bytearray, offset: int, size: int, member: object, name: str) -> None:
    """Write a number, little-endian. Null is what a report without the field has: zero."""
    number = 0 if member is None else member
    if type(number) is not int or not 0 <= number < 1 << 8 * size:
        raise ParseError(NAME, name, 0, f"is not a number of {size} bytes")
    made[offset : offset + size] = number.to_bytes(size, "little")


def place_bytes(made: bytearray, offset: int, size: int, member: object, name: str) -> None:
    """Write bytes."""
    found = octets(member, NAME, name)
    if len(found) != size:
        raise ParseError(NAME, name, 0, f"has {len(found)} bytes; {size} are expected")
    made[offset : offset + size] = found


def place_numbers(made: bytearray, base: int, places: Mapping[str, int], member: object, name: str) -> None:
    """Write the members of an object, one byte each."""
    if not isinstance(member, Mapping):
        raise ParseError(NAME, name, 0, "is not an object")
    for key, number in member.items():
        if key in places:
            place_number(made, base + places[key], 1, number, f"{name}.{key}")
        elif not empty(number):
            raise ParseError(NAME, f"{name}.{str(key)[:32]}", 0, "is not a field that is known, and is not empty")


def place_signature(made: bytearray, member: object) -> None:
    """Write r and s."""
    for key, (offset, size) in SIGNATURE.items():
        place_bytes(made, offset, size, _json.member(member, key, f"{NAME}.signature"), f"signature.{key}")
