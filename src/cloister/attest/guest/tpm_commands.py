"""The few commands of a TPM 2.0 that a quote takes, spoken to its device: no library is needed.

TCG TPM 2.0 Library, part 1, section 18 (how commands look) and part 3 (what each does). Big-endian. A command and its
answer are one write(2) and one read(2) of /dev/tpmrm0, the kernel's resource manager.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from cloister._wire import Reader
from cloister.errors import CannotProtect, ParseError, UsageError

__all__ = ["DEVICE", "Channel", "Tpm", "TpmRefusal", "opened"]

DEVICE: Final = Path("/dev/tpmrm0")
LONGEST: Final = 4096
PLAIN: Final = 0x8001
"""TPM_ST_NO_SESSIONS"""
WITH_PASSWORD: Final = 0x8002
"""TPM_ST_SESSIONS; the session is an empty password."""
PASSWORD: Final = bytes.fromhex("00000009400000090000000000")
OWNER: Final = 0x40000001
ENDORSEMENT: Final = 0x4000000B
SHA256: Final = 0x000B
NULL: Final = b"\x00\x10"
KEY_TEMPLATE: Final = (
    bytes.fromhex("0023000b000504720000")  # ECC, SHA-256, restricted signing key of this TPM, no policy
    + NULL
    + bytes.fromhex("0018000b0003")  # ECDSA with SHA-256, P-256
    + NULL
    + bytes(4)  # the point, which the TPM chooses
)
PIECE: Final = 512
"""Bytes of non-volatile memory that are read at once; every TPM takes as many (TPM_PT_NV_BUFFER_MAX)."""

MOST_PCRS: Final = 24
AGAIN: Final = frozenset({0x908, 0x90A, 0x922})
"""TPM_RC_YIELDED, TESTING and RETRY: the command is to be sent once more (part 2, section 6.6.3)."""

ATTEMPTS: Final = 20


class Channel(Protocol):
    """What carries a command to a TPM and its answer back."""

    def __call__(self, command: bytes) -> bytes:
        """The answer to a command. OSError."""


class TpmRefusal(CannotProtect):
    """The TPM answered with an error code (part 2, section 6.6)."""


@contextmanager
def opened(device: Path = DEVICE) -> Iterator["Tpm"]:
    """The TPM behind a device. CannotProtect if there is none, UsageError if it takes root."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise UsageError(f"{device}: asking the TPM takes root here, or the group tss; use sudo") from error
    except OSError as error:
        raise CannotProtect(f"cannot open {device}: {error.strerror}: this machine has no TPM 2.0") from error

    def exchange(command: bytes) -> bytes:
        os.write(descriptor, command)
        return os.read(descriptor, LONGEST)

    try:
        yield Tpm(exchange)
    finally:
        os.close(descriptor)


def sized(data: bytes) -> bytes:
    """A TPM2B: its size in two bytes, and the data."""
    return len(data).to_bytes(2) + data


def selection(indices: Iterable[int]) -> bytes:
    """TPML_PCR_SELECTION of the SHA-256 bank."""
    bits = sum(1 << one for one in indices)
    return bytes.fromhex("00000001") + SHA256.to_bytes(2) + b"\x03" + bits.to_bytes(3, "little")


class Tpm:
    """A TPM. CannotProtect where it does not answer; TpmRefusal where it does, with an error."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def _run(self, name: str, code: int, handles: bytes, rest: bytes = b"", *, authorized: bool = False) -> Reader:
        body = handles + (PASSWORD if authorized else b"") + rest
        tag = WITH_PASSWORD if authorized else PLAIN
        command = tag.to_bytes(2) + (10 + len(body)).to_bytes(4) + code.to_bytes(4) + body
        reader, refused = self._exchange(name, command)
        for _ in range(ATTEMPTS):
            if refused not in AGAIN:
                break
            reader, refused = self._exchange(name, command)
        if refused:
            raise TpmRefusal(f"{name}: the TPM refuses: {refused:#x}")
        return reader

    def _exchange(self, name: str, command: bytes) -> tuple[Reader, int]:
        try:
            answer = self._channel(command)
        except OSError as error:
            raise CannotProtect(f"{name}: the TPM does not answer: {error.strerror or error}") from error
        reader = Reader(answer, name, order="big")
        reader.u16("tag")
        if reader.u32("size") != len(answer):
            raise CannotProtect(f"{name}: the TPM's answer is cut off")
        return reader, reader.u32("code")

    def pcrs(self) -> dict[int, bytes]:
        """The SHA-256 values of all PCRs."""
        found: dict[int, bytes] = {}
        while len(found) < MOST_PCRS:
            wanted = [one for one in range(MOST_PCRS) if one not in found]
            reader = self._run("TPM2_PCR_Read", 0x17E, b"", selection(wanted))
            reader.take(4 + 4 + 2, "counter, count, bank")
            bits = int.from_bytes(reader.take(reader.u8("select size"), "select"), "little")
            there = [one for one in wanted if bits >> one & 1]
            if not there or reader.u32("count") != len(there):
                raise CannotProtect("TPM2_PCR_Read: the TPM has no SHA-256 bank")
            found |= {one: reader.take(reader.u16("size"), "digest") for one in there}
        return found

    def public_of(self, handle: int) -> bytes:
        """TPMT_PUBLIC of a key that the TPM keeps."""
        reader = self._run("TPM2_ReadPublic", 0x173, handle.to_bytes(4))
        return reader.take(reader.u16("size"), "outPublic")

    @contextmanager
    def attestation_key(self) -> Iterator[tuple[int, bytes]]:
        """A restricted signing key of the endorsement hierarchy, the same each time: handle and TPMT_PUBLIC."""
        rest = sized(bytes(4)) + sized(KEY_TEMPLATE) + sized(b"") + bytes(4)
        reader = self._run("TPM2_CreatePrimary", 0x131, ENDORSEMENT.to_bytes(4), rest, authorized=True)
        handle = reader.u32("objectHandle")
        reader.u32("parameterSize")
        try:
            yield handle, reader.take(reader.u16("size"), "outPublic")
        finally:
            self._run("TPM2_FlushContext", 0x165, handle.to_bytes(4))

    def quote(self, handle: int, nonce: bytes) -> tuple[bytes, bytes]:
        """TPMS_ATTEST over all PCRs and the nonce, and TPMT_SIGNATURE."""
        rest = sized(nonce) + NULL + selection(range(MOST_PCRS))
        reader = self._run("TPM2_Quote", 0x158, handle.to_bytes(4), rest, authorized=True)
        end = reader.u32("parameterSize") + reader.offset
        message = reader.take(reader.u16("size"), "quoted")
        return message, reader.take(end - reader.offset, "signature")

    def stored(self, index: int) -> bytes | None:
        """What stands at an index of the non-volatile memory, read as its owner; None if there is no such index."""
        try:
            reader = self._run("TPM2_NV_ReadPublic", 0x169, index.to_bytes(4))
        except TpmRefusal:
            return None
        public = Reader(reader.take(reader.u16("size"), "nvPublic"), "TPMS_NV_PUBLIC", order="big")
        public.take(4 + 2 + 4, "index, algorithm, attributes")
        public.take(public.u16("policy size"), "policy")
        size, found = public.u16("dataSize"), b""
        while len(found) < size:
            piece = min(PIECE, size - len(found))
            rest = piece.to_bytes(2) + len(found).to_bytes(2)
            handles = OWNER.to_bytes(4) + index.to_bytes(4)
            reader = self._run("TPM2_NV_Read", 0x14E, handles, rest, authorized=True)
            reader.u32("parameterSize")
            if not (more := reader.take(reader.u16("size"), "data")):
                raise ParseError("TPM2_NV_Read", "data", 0, "is empty")
            found += more
        return found
