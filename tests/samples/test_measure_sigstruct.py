"""MRENCLAVE of a real enclave, computed again from its image, is what its developer signed.

The image was laid out and signed by Intel's SGX SDK; how its loader works is retold here as far as this image needs:
segments first, each page added and measured, then the pages that the metadata lists (linux-sgx, metadata.h).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cloister.evidence.sigstruct import IN_METADATA, Sigstruct, metadata_of, of_image
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags

IMAGE = (
    Path(__file__).parents[3] / "shared" / "evidence" / "sgx-sigstruct" / "intel-ita-enclave-signed-so"
    / "enclave.signed.so"
)  # fmt: skip
PAGE = 4096
DIRECTORIES = IN_METADATA + Sigstruct.SIZE
ENTRY = 32
GROUP = 0x1000
EADD, EEXTEND = 1, 2


class Entry(NamedTuple):
    """One entry of the layout: pages at an address, all alike or with the template of a TCS.

    A group has the same head: it repeats the entries before it, `pages` times.
    """

    kind: int
    attributes: int
    pages: int
    address: int
    content_size: int
    content_offset: int
    flags: int


class SdkImage:
    """An enclave of Intel's SDK while its loader adds it."""

    def __init__(self, file: bytes) -> None:
        start = metadata_of(file)
        self.metadata = file[start:]
        patches, self.entries = (list(self._table(DIRECTORIES + 8 * number)) for number in (0, 1))
        self.file = bytearray(file)
        for patch in patches:
            place, source, size = struct.unpack_from("<QII", patch)
            self.file[place : place + size] = self.metadata[source : source + size]
        (pages,) = struct.unpack_from("<I", self.metadata, 24)
        (size,) = struct.unpack_from("<Q", self.metadata, 40)
        self.running = EnclaveMeasurement.ecreate(pages, size)

    def _table(self, place: int) -> Iterator[bytes]:
        offset, size = struct.unpack_from("<II", self.metadata, place)
        return (self.metadata[at : at + ENTRY] for at in range(offset, offset + size, ENTRY))

    def load(self) -> str:
        """Everything that is added before EINIT: MRENCLAVE."""
        (table,), (count,) = struct.unpack_from("<Q", self.file, 32), struct.unpack_from("<H", self.file, 56)
        for number in range(count):
            kind, flags, offset, address, _, filled, size, _ = struct.unpack_from(
                "<IIQQQQQQ", self.file, table + 56 * number
            )
            if kind == 1:
                permissions = (flags >> 2 & 1) | (flags & 2) | (flags & 1) << 2
                self.region(address, bytes(self.file[offset : offset + filled]), size, SecinfoFlags.REG | permissions)
        for packed in self.entries:
            one = Entry(*struct.unpack("<HHIQIIQ", packed))
            if one.kind & GROUP:
                assert not one.pages, "this image has one thread: its group of further threads is repeated zero times"
            else:
                self.entry(one)
        return self.running.digest().value.hex()

    def region(self, address: int, content: bytes, size: int, flags: int) -> None:
        first, last = address // PAGE, -(-(address + size) // PAGE)
        memory = (bytes(address % PAGE) + content).ljust((last - first) * PAGE, b"\0")
        for number in range(last - first):
            self.running.add_page((first + number) * PAGE, flags, memory[number * PAGE : (number + 1) * PAGE])

    def entry(self, one: Entry) -> None:
        if not one.attributes & EADD:
            return
        content = struct.pack("<I", one.content_size) * (PAGE // 4)
        if one.content_offset:
            assert one.flags == SecinfoFlags.TCS, "only a TCS has a template in this image"
            content = self.thread(one)
        for address in range(one.address, one.address + one.pages * PAGE, PAGE):
            if one.attributes & EEXTEND:
                self.running.add_page(address, one.flags, content)
            else:
                self.running.eadd(address, one.flags)

    def thread(self, one: Entry) -> bytes:
        """The TCS: OSSA, OFSBASE and OGSBASE of its template are relative to its own address."""
        template = self.metadata[one.content_offset : one.content_offset + one.content_size]
        content = bytearray(template.ljust(PAGE, b"\0"))
        for place in (16, 48, 56):
            struct.pack_into("<Q", content, place, struct.unpack_from("<Q", content, place)[0] + one.address)
        return bytes(content)


@pytest.fixture(scope="module")
def file() -> bytes:
    return IMAGE.read_bytes()


def test_mrenclave_is_what_was_signed(file: bytes) -> None:
    assert SdkImage(file).load() == of_image(file).enclave_hash.hex()
    assert of_image(file).enclave_hash.hex() == "69a8788a94e77a4d0cb91a5974022c4fa3422fb6fad96d576af38ff42a7a9f3d"


def test_one_changed_byte_of_code_is_another_enclave(file: bytes) -> None:
    changed = bytearray(file)
    changed[0x3000] ^= 1
    assert SdkImage(bytes(changed)).load() != of_image(file).enclave_hash.hex()
