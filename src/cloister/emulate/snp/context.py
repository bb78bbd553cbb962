"""The guest context: all that the firmware knows of a guest, on a page of DRAM that only the firmware can decrypt.

AMD 56860, chapter on guest contexts; what stands where in the page is AMD's secret, this layout is ours. The page is
encrypted with the firmware's own memory key, without integrity: whoever holds the chips can put an older page, or any
16 bytes of it, back in place. BadRAM (CVE-2024-21944) replaced a launch digest so.
"""

import os
from typing import Any, Final

from cloister._wire import Record, raw, reserved, u8, u32, u64
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.snp.commands import GuestState
from cloister.measure.image import PAGE

__all__ = ["FIRMWARE_KEY", "NO_MIGRATION_AGENT", "GuestContext", "load", "new_context", "store", "with_changes"]

FIRMWARE_KEY: Final = 1 << 20
"""The memory controller's key id for pages that the firmware keeps for itself; above all ASIDs."""

NO_MIGRATION_AGENT: Final = b"\xff" * 32
"""REPORT_ID_MA of a guest without one."""

HEAD: Final = 0x246
"""Bytes of the context in use."""


class GuestContext(Record, size=PAGE):
    """The context. `vek` is the memory key: two AES keys, of 16 or 32 bytes each, in front of zeros."""

    state: int = u32()
    asid: int = u32()
    policy: int = u64()
    digest: bytes = raw(48)  # LD; at 0x10, so that it is whole blocks of the memory cipher
    vek: bytes = raw(64)
    vmpck0: bytes = raw(32)
    vmpck1: bytes = raw(32)
    vmpck2: bytes = raw(32)
    vmpck3: bytes = raw(32)
    sequence0: int = u64()
    sequence1: int = u64()
    sequence2: int = u64()
    sequence3: int = u64()
    vmrk: bytes = raw(32)
    swap_key: bytes = raw(32)
    swapped: int = u64()  # how many pages were ever swapped out: the next one's nonce
    gosvw: bytes = raw(16)
    host_data: bytes = raw(32)
    family_id: bytes = raw(16)
    image_id: bytes = raw(16)
    id_key_digest: bytes = raw(48)
    author_key_digest: bytes = raw(48)
    report_id: bytes = raw(32)
    launch_tcb: bytes = raw(8)
    guest_svn: int = u32()
    author_key: int = u8()
    imi: int = u8()
    reserved_tail: bytes = reserved(PAGE - HEAD)

    def channel_key(self, number: int) -> bytes:
        """VMPCK `number`, 0 to 3."""
        return (self.vmpck0, self.vmpck1, self.vmpck2, self.vmpck3)[number]

    def sequence(self, number: int) -> int:
        """The sequence number of the last message under VMPCK `number`."""
        return (self.sequence0, self.sequence1, self.sequence2, self.sequence3)[number]


def with_changes(context: GuestContext, **changes: Any) -> GuestContext:  # noqa: ANN401 - fields of several types
    """The same context with some fields changed."""
    return GuestContext(**(dict(context.fields()) | changes))


def new_context(launch_tcb: bytes) -> GuestContext:
    """The context of a guest that is not launched yet: everything zero, a random report id."""
    return GuestContext(
        state=GuestState.INIT, asid=0, policy=0, digest=bytes(48), vek=bytes(64),
        vmpck0=bytes(32), vmpck1=bytes(32), vmpck2=bytes(32), vmpck3=bytes(32),
        sequence0=0, sequence1=0, sequence2=0, sequence3=0, vmrk=bytes(32), swap_key=bytes(32), swapped=0,
        gosvw=bytes(16), host_data=bytes(32), family_id=bytes(16), image_id=bytes(16), id_key_digest=bytes(48),
        author_key_digest=bytes(48), report_id=os.urandom(32), launch_tcb=launch_tcb, guest_svn=0, author_key=0, imi=0,
    )  # fmt: skip


def load(cache: FrameCache, page: int) -> GuestContext:
    """The context on a physical page, decrypted. ParseError if DRAM was scrambled there."""
    frame = cache.frame(page, FIRMWARE_KEY, write=False, fetch=False)
    return GuestContext.parse(bytes(cache.frames[frame]))


def store(cache: FrameCache, page: int, context: GuestContext) -> None:
    """Write a context to its page."""
    cache.put(page, FIRMWARE_KEY, context.serialize())
