"""An SGX processor without a machine around it: instructions are given their operands by hand."""

import functools
import hashlib
from collections import defaultdict
from datetime import date
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.sgx import build
from cloister.emulate.sgx.driver import Driver
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.processor import Fuses, Processor
from cloister.emulate.sgx.structures import Attribute, Attributes, PageInfo, SecInfo, Secs
from cloister.emulate.vendors.sigstruct import sign_enclave, signing_key
from cloister.measure.enclave import Tcs
from cloister.measure.image import PAGE
from cloister.measure.sigstruct import Product

__all__ = ["BASE", "FIRST", "FUSES", "Bench", "Memory", "author", "draft", "tcs"]

FIRST, COUNT, HOST_PAGES = 64, 256, 64
BASE, SIZE = 0x10_0000, 0x10_0000
FUSES = Fuses(
    root=bytes(range(16)), seal=b"s" * 16, owner_epoch=b"o" * 16, cpusvn=bytes([5, 5, 2, 2, 3, 1, 0, 3, *8 * [0]])
)
NORMAL = Attributes(flags=Attribute.MODE64BIT, xfrm=3)
SPOTS = {"info": 0, "secinfo": PAGE, "source": 2 * PAGE, "sigstruct": 3 * PAGE, "token": 4 * PAGE, "pcmd": 5 * PAGE}


@functools.cache
def author() -> rsa.RSAPrivateKey:
    """An author's key, made once."""
    return signing_key()


class Memory:
    """Physical memory without caches and encryption."""

    def __init__(self) -> None:
        self.pages: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(PAGE))

    def epc(self, page: int, *, write: bool) -> memoryview:
        """Any page."""
        del write
        return memoryview(self.pages[page])

    ordinary = epc

    def fill(self, page: int, content: bytes | memoryview) -> None:
        """Set a page."""
        self.pages[page][:] = content

    def forget(self, page: int) -> None:
        """What an EPC page held is gone."""
        self.pages.pop(page, None)


def draft(**changes: Any) -> Secs:
    """The SECS that a host would like."""
    values: dict[str, Any] = {
        "size": SIZE, "base": BASE, "ssaframesize": 1, "miscselect": 0, "attributes": NORMAL, "mrenclave": bytes(32),
        "mrsigner": bytes(32), "configid": bytes(64), "isvprodid": 0, "isvsvn": 0, "configsvn": 0,
        "isvfamilyid": bytes(16), "isvextprodid": bytes(16), "eid": 0,
    }  # fmt: skip
    return Secs(**values | changes)


def tcs(**changes: int) -> Tcs:
    """A TCS with three frames of one page behind it."""
    values = {
        "state": 0, "flags": 0, "ossa": 0x2000, "cssa": 0, "nssa": 3, "oentry": 0x40, "aep": 0, "ofsbase": 0x5000,
        "ogsbase": 0x6000, "fslimit": 0xFFF, "gslimit": 0xFFF,
    }  # fmt: skip
    return Tcs(**values | changes)


class Bench:
    """A processor, the host's operands at fixed places, and an enclave in the making. `page` is the next EPC page."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.cpu = Processor(self.memory, FIRST, COUNT, FUSES)
        self.page = FIRST
        self.table: dict[int, int] = {}
        self.secs = 0

    def put(self, spot: str, data: bytes) -> int:
        """Lay bytes down; their address."""
        address = SPOTS[spot]
        self.cpu.write("test", address, data)
        return address

    def info(
        self, *, linaddr: int = 0, source: bytes | None = None, secinfo: int | None = None, secs_at: int = 0
    ) -> int:
        """Lay down a PAGEINFO with what it points to."""
        return self.put("info", PageInfo(
            linaddr=linaddr, srcpge=0 if source is None else self.put("source", source),
            secinfo=0 if secinfo is None else self.put("secinfo", SecInfo(flags=secinfo).serialize()), secs=secs_at,
        ).serialize())  # fmt: skip

    def take(self) -> int:
        """The address of a free EPC page."""
        self.page += 1
        return (self.page - 1) * PAGE

    def create(self, secs_draft: Secs | None = None) -> int:
        """ECREATE; the SECS's address."""
        at = self.take()
        build.ecreate(self.cpu, self.info(source=(secs_draft or draft()).serialize(), secinfo=0), at)
        self.secs = at
        return at

    def add(self, address: int, flags: int, content: bytes = bytes(PAGE), *, measured: bool = True) -> int:
        """EADD and 16 EEXTEND; the EPC page's address."""
        at = self.take()
        build.eadd(self.cpu, self.info(linaddr=address, source=content, secinfo=flags, secs_at=self.secs), at)
        for chunk in range(at, at + PAGE, 256) if measured else ():
            build.eextend(self.cpu, self.secs, chunk)
        self.table[address >> 12] = at // PAGE
        return at

    def initialise(self, product: Product = Product(), *, hash_of: bytes | None = None) -> Code:  # noqa: B008 - frozen
        """EINIT with the author's signature, of what was built unless another measurement is given."""
        measured = self.cpu.enclave_of("test", self.secs).measurement.digest().value
        signed = sign_enclave(author(), hash_of or measured, date=date(2026, 6, 1), product=product)
        return self.einit(signed)

    def einit(self, signed: bytes, *, launch_hash: bytes | None = None, token: bytes = bytes(304)) -> Code:
        """EINIT with any SIGSTRUCT; as Linux does, the launch control hash is the signer's unless another is given."""
        self.cpu.launch_key_hash = launch_hash or hashlib.sha256(signed[128:512]).digest()
        return build.einit(self.cpu, self.put("sigstruct", signed), self.secs, self.put("token", token))

    def thread(self) -> "Bench":
        """A whole enclave: TCS at BASE, code at +0x1000, frames at +0x2000, data at +0x5000 and +0x6000."""
        self.create()
        self.add(BASE, 0x100, tcs().serialize())
        self.add(BASE + 0x1000, 0x205)
        for place in range(0x2000, 0x7000, PAGE):
            self.add(BASE + place, 0x203)
        assert self.initialise() is Code.SUCCESS
        return self

    def walk(self, address: int) -> int:
        """The host's page table."""
        return self.table[address >> 12]

    def driver(self) -> Driver:
        """A driver for this processor, with a little ordinary memory."""
        return Driver(self.cpu, PhysicalMemory(0, HOST_PAGES), lambda _: False, lambda: None)
