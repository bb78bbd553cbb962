"""What a guest's boot extends its registers with, as far as it follows from files that its owner has.

tianocore/edk2, OvmfPkg (TdTcg2Dxe, X86QemuLoadImageLib); Linux, drivers/firmware/efi/libstub (efi-stub-helper.c);
hw/i386/x86-common.c of QEMU, which writes into the kernel's header before the firmware sees it. With direct boot
(-kernel, -initrd, -append):

    RTMR1    the kernel (Authenticode), then the firmware's own words
    RTMR2    the command line as the kernel's EFI stub sees it (UTF-16 with its NUL), then the initrd

RTMR1 depends on where QEMU puts the initrd, and so on the machine's memory if that is small. RTMR0 covers tables that
depend on the hypervisor's version and arguments: it is taken from an event log, not foretold.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from cloister.errors import ParseError, UsageError
from cloister.evidence.eventlog import EV_NO_ACTION, EventLog
from cloister.measure.authenticode import authenticode
from cloister.measure.tdx import extend_rtmr
from cloister.model import Digest

__all__ = [
    "DirectBoot",
    "Explained",
    "InitrdWord",
    "events_of",
    "explained_events",
    "foretells_kernel",
    "foretold_rtmr1",
    "foretold_rtmr2",
]

ZEROS: Final = Digest("sha384", bytes(48))
REGISTERS: Final = {1: "rtmr0", 2: "rtmr1", 3: "rtmr2", 4: "rtmr3"}
"""A confidential-computing log's numbers."""

ACTIONS: Final = (
    "Calling EFI Application from Boot Option",
    "Exit Boot Services Invocation",
    "Exit Boot Services Returned with Success",
)
SEPARATOR: Final = bytes(4)
HEADER_END: Final = 0x22C
PROTOCOL: Final = 0x206
PAGE: Final = 4096
INITRD_END: Final = 0x8000_0000 - 0x2_8000 - 1
"""Where an initrd ends at most, in q35 machines with 2 GiB, or 2.75 or more: below ACPI's data, below 2 GiB."""

LOW_MEMORY: Final = 2048
ENOUGH_MEMORY: Final = 2816
"""MiB from which on low memory ends at 2 GiB; with less, it is all of the memory (hw/i386/pc_q35.c)."""

CAN_USE_HEAP: Final = 0x80
"""loadflags of the kernel's setup header (Linux, Documentation/arch/x86/boot.rst)."""


class InitrdWord(StrEnum):
    """Where the firmware puts `initrd=initrd` into the command line: edk2 since 2025 before it, older ones behind."""

    BEHIND = "behind"
    BEFORE = "before"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class DirectBoot:
    """The files of a direct boot; None where none is given."""

    kernel: bytes | None = field(default=None, repr=False)
    initrd: bytes | None = field(default=None, repr=False)
    command_line: str | None = None

    def digests(self) -> dict[bytes, str]:
        """SHA-384 of everything that these files may appear as in a log, with what it is."""
        made = {_hashed(text.encode()): f"the firmware's words: {text}" for text in ACTIONS}
        made[_hashed(SEPARATOR)] = "the firmware's separator"
        if self.kernel is not None:
            made[authenticode(self.kernel)] = "the kernel, as its file is"
            made[authenticode(as_qemu_loads(self.kernel, None))] = "the kernel, with QEMU's changes to its header"
            size = len(self.initrd or b"")
            made[authenticode(as_qemu_loads(self.kernel, size))] = "the kernel, as QEMU loads it with this initrd"
            made[_hashed(self.kernel)] = "the kernel's file"
        if self.initrd is not None:
            made[_hashed(self.initrd)] = "the initrd"
        if self.command_line is not None:
            for word in InitrdWord:
                made[_hashed(efi_words(self.command_line, word))] = f"the command line, initrd= {word}"
            made[_hashed(self.command_line.encode())] = "the command line"
        return made


def foretells_kernel(memory: int) -> bool:
    """Whether RTMR1 is foretold for a machine with `memory` MiB: the kernel's header says where QEMU put the initrd."""
    return memory == LOW_MEMORY or memory >= ENOUGH_MEMORY


def efi_words(command_line: str, word: InitrdWord) -> bytes:
    """The command line as the kernel's EFI stub measures it."""
    text = {
        InitrdWord.BEHIND: f"{command_line} initrd=initrd",
        InitrdWord.BEFORE: f"initrd=initrd {command_line}",
        InitrdWord.NONE: command_line,
    }[word]
    try:
        return text.encode("utf-16-le") + bytes(2)
    except UnicodeEncodeError as error:
        raise UsageError("the command line is not UTF-8: the kernel's EFI stub would not see these bytes") from error


def as_qemu_loads(kernel: bytes, initrd_size: int | None) -> bytes:
    """The kernel after QEMU has written into its setup header. ParseError if it is too short to have one.

    With an initrd, in a machine (q35) that has enough memory for its place to depend on nothing else.
    """
    if len(kernel) < HEADER_END:
        raise ParseError("kernel", "setup header", 0, f"{len(kernel)} bytes are no Linux kernel")
    made = bytearray(kernel)
    protocol = int.from_bytes(kernel[PROTOCOL : PROTOCOL + 2], "little")
    high = protocol >= 0x200 and kernel[0x211] & 1
    real, words = (0x10000, 0x20000) if high else (0x90000, 0x9A000)
    if protocol >= 0x200:
        made[0x210] = 0xB0
    if protocol >= 0x201:
        made[0x211] |= CAN_USE_HEAP
        made[0x224:0x228] = (words - real - 0x200).to_bytes(4, "little")
    if protocol >= 0x202:
        made[0x228:0x22C] = words.to_bytes(4, "little")
    if initrd_size is not None:
        address = (INITRD_END - initrd_size) // PAGE * PAGE
        made[0x218:0x220] = max(address, 0).to_bytes(4, "little") + initrd_size.to_bytes(4, "little")
    return bytes(made)


def foretold_rtmr2(command_line: str, initrd: bytes | None, word: InitrdWord) -> Digest:
    """RTMR2 after a direct boot, before anything in the guest extends it."""
    running = extend_rtmr(ZEROS, _hashed(efi_words(command_line, word)))
    return running if initrd is None else extend_rtmr(running, _hashed(initrd))


def foretold_rtmr1(kernel: bytes, initrd: bytes | None, *, separator: bool) -> Digest:
    """RTMR1 after a direct boot in a machine with enough memory (`as_qemu_loads`). ParseError.

    `separator` says whether the firmware extends this register with its separator after the boot option, as edk2 does
    now, or RTMR0, as it did.
    """
    image = as_qemu_loads(kernel, None if initrd is None else len(initrd))
    return rtmr1_of(authenticode(image), separator=separator)


def rtmr1_of(kernel: bytes, *, separator: bool) -> Digest:
    """RTMR1 from the kernel's digest."""
    calling, *leaving = (_hashed(text.encode()) for text in ACTIONS)
    running = ZEROS
    for value in (kernel, calling, *([_hashed(SEPARATOR)] if separator else []), *leaving):
        running = extend_rtmr(running, value)
    return running


class Explained(NamedTuple):
    """An event that one of the files explains; events are counted from 0."""

    number: int
    register: str
    what: str


def explained_events(events: Iterable[tuple[str, bytes]], digests: Mapping[bytes, str]) -> Iterator[Explained]:
    """The events, (register, SHA-384), whose digest is one of these."""
    for number, (register, digest) in enumerate(events):
        if digest in digests:
            yield Explained(number, register, digests[digest])


def events_of(log: EventLog) -> list[tuple[str, bytes]]:
    """Register and SHA-384 of every event of a confidential-computing log; those that extend nothing have no digest."""
    return [
        (
            REGISTERS.get(one.register, f"register {one.register}"),
            b"" if one.type == EV_NO_ACTION else one.digest("sha384"),
        )
        for one in log.events
    ]


def _hashed(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()
