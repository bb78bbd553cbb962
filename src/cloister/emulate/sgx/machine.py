"""An x86-64 machine with Intel SGX: one program, with its shim, in one enclave.

machine = SgxMachine(Shape(), terminal, Keystore(), integrity="mee")
machine.launch(image)                       # ECREATE, EADD, EEXTEND, EINIT
machine.start(["program"], {})              # EENTER
machine.run()
machine.evidence(report_data)               # EREPORT, and a quote of version 3
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.machine import Shape, Vouching
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY, Refused
from cloister.emulate.sgx import keys
from cloister.emulate.sgx.debug import edbgrd
from cloister.emulate.sgx.driver import Driver
from cloister.emulate.sgx.dynamic import DynamicEnclave
from cloister.emulate.sgx.memory import EPC_KEY, CachedMemory
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Fuses, Processor
from cloister.emulate.sgx.quoting import QuotingEnclave
from cloister.emulate.sgx.structures import Attribute, Attributes, KeyName, KeyPolicy, KeyRequest, Secs
from cloister.emulate.sgx.swap import Refusal
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.intel_platform import CLIENT, SERVER, SgxType
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import sign_enclave, signing_key
from cloister.errors import LaunchError, UsageError
from cloister.evidence.sigstruct import Sigstruct
from cloister.measure.enclave import EnclaveLayout
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.measure.sigstruct import Product
from cloister.model import Digest, Tee

__all__ = ["EPC_PAGES", "FEWEST_EPC_PAGES", "PLATFORMS", "SgxMachine"]

EPC_PAGES: Final = 0x5D80000 // PAGE
"""What a processor reserved memory of 128 MiB leaves: 93.5 MiB, as CPUID 12H announces it."""

FEWEST_EPC_PAGES: Final = 64
"""Fewer would not hold the pages that cannot be written out, and those that one instruction touches."""

ORDINARY: Final = 64
"""Pages that the host needs outside the EPC at the least: the bounce buffer, the driver's desk."""

PLATFORMS: Final = {
    "mee": CLIENT,
    "scalable": SERVER,
    "scalable-mac": replace(SERVER, sgx_type=SgxType.SCALABLE_WITH_INTEGRITY),
}
"""How the EPC is kept: client processors with an integrity tree, servers with AES-XTS, servers with a MAC besides."""

ORDINARY_PRODUCT: Final = Product()
ONES: Final = b"\xff" * PAGE
REPORT_DATA: Final = 64
WORD: Final = 8


class SgxMachine(DynamicEnclave):
    """`keystore` keeps this processor's fuses, its manufacturer, and the author's key with which enclaves are signed.

    `debug` asks for ATTRIBUTES.DEBUG. `integrity` is one of PLATFORMS. `epc_pages` is the EPC's size: EPC_PAGES, or
    half of a smaller machine, if it is not said. `product` is what the author signs besides the measurement;
    `sigstruct` (1808 bytes) is used instead, if there is one. UsageError for sizes that cannot be.
    """

    tee = Tee.SGX
    architecture = Architecture.X86_64

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        debug: bool = False,
        integrity: str = "mee",
        epc_pages: int | None = None,
        product: Product = ORDINARY_PRODUCT,
        sigstruct: bytes | None = None,
    ) -> None:
        if integrity not in PLATFORMS:
            raise UsageError(f"memory protection {integrity!r}: an SGX machine has one of {', '.join(PLATFORMS)}")
        epc_pages = min(EPC_PAGES, shape.memory // 2) if epc_pages is None else epc_pages
        ordinary = shape.memory - epc_pages
        if epc_pages < FEWEST_EPC_PAGES or ordinary < ORDINARY:
            raise UsageError(
                f"an EPC of {epc_pages} pages in a machine of {shape.memory}: it has {FEWEST_EPC_PAGES} at least, and"
                f" leaves {ORDINARY} to the host"
            )
        super().__init__(shape, console)
        self._debug, self._product, self._sigstruct, self._keystore = debug, product, sigstruct, keystore
        self._cipher = (
            TreeCipher(self.dram) if integrity == "mee" else XtsCipher(self.dram, mac=integrity != "scalable")
        )
        self.controller.install(HOST_KEY, PlainCipher(self.dram))
        self.controller.install(EPC_KEY, self._cipher)
        self.manufacturer = IntelManufacturer(keystore, PLATFORMS[integrity])
        self.pages = PhysicalMemory(0, ordinary)
        self.cpu = Processor(CachedMemory(self.cache), ordinary, epc_pages, self._fuses())
        self.driver = Driver(self.cpu, self.pages, self._accessed, self.cache.flush)
        self.quoting_enclave = QuotingEnclave(self.manufacturer, self.cpu.fuses)
        self.granted = {}
        self.host.on_fault = self._put_back

    def _fuses(self) -> Fuses:
        secret = self._keystore.secret
        return Fuses(
            root=secret("sgx-root-key", 16), seal=secret("sgx-seal-fuses", 16),
            owner_epoch=secret("sgx-owner-epoch", 16), cpusvn=self.manufacturer.platform.cpusvn,
        )  # fmt: skip

    def _accessed(self, number: int) -> bool:
        """The accessed bit of a page-table entry, read and cleared: whether there is a translation."""
        return self._known.pop(number, None) is not None

    # ---- launch

    def launch(self, image: Image) -> None:
        """Build, measure and initialise the enclave. LaunchError if the processor refuses; CannotEnclave."""
        self.image = image
        self.layout = EnclaveLayout.of(image)
        signed = self._sigstruct if self._sigstruct is not None else self._signed()
        wanted = Attributes.parse(Sigstruct.parse(signed).attributes)
        flags = wanted.flags | Attribute.DEBUG if self._debug else wanted.flags & ~int(Attribute.DEBUG)
        try:
            self.driver.create(self.layout, Attributes(flags=flags, xfrm=wanted.xfrm))
            code = self.driver.initialise(signed)
        except (Fault, Refusal) as refusal:
            raise LaunchError(f"the enclave cannot be built: {refusal}") from refusal
        if code is not Code.SUCCESS:
            raise LaunchError(
                f"EINIT refuses the enclave: {code}; its SIGSTRUCT must be for this program, with these attributes"
            )
        for page in self.layout.pages:
            self.granted[(self.layout.base + page.offset) >> 12] = Permission(int(page.flags) & 7)

    def _signed(self) -> bytes:
        """The author's SIGSTRUCT, for the measurement that the author expects."""
        key = self._keystore.key("sgx-author", signing_key)
        product = self._product
        if self._debug:
            attributes = Attributes.parse(product.attributes)
            attributes = Attributes(flags=attributes.flags | Attribute.DEBUG, xfrm=attributes.xfrm)
            product = replace(product, attributes=attributes.serialize())
        today = datetime.now(UTC).date()
        return sign_enclave(key, self.layout.measure().value, date=today, product=product)

    @property
    def secs(self) -> Secs:
        """The enclave's SECS, as the processor has it. UsageError before `launch`."""
        if not hasattr(self, "layout"):
            raise UsageError("nothing was launched yet: call launch first")
        return self.cpu.secs(self.driver.enclave)

    @property
    def measurement(self) -> Digest:
        """MRENCLAVE."""
        return Digest("sha256", self.secs.mrenclave)

    # ---- attestation and keys

    def evidence(self, report_data: bytes) -> bytes:
        """A quote of version 3 with up to 64 bytes of report data, filled with zeros. UsageError if it is longer."""
        if len(report_data) > REPORT_DATA:
            raise UsageError(f"report data of {len(report_data)} bytes: an SGX report has {REPORT_DATA}")
        target = self.quoting_enclave.target_info
        report = keys.ereport(self.cpu.fuses, self.secs, target, report_data.ljust(REPORT_DATA, b"\0"))
        return self.quoting_enclave.quote(report)

    def vouching(self, at: datetime) -> Vouching:
        """The emulated Intel's root, and its statements about this platform and its quoting enclave."""
        collateral = {"intel-collateral.json": self.manufacturer.collateral(at)}
        return Vouching(roots=self.manufacturer.root_pem, collateral=collateral)

    def sealing_key(
        self, policy: KeyPolicy = KeyPolicy.MRENCLAVE, *, keyid: bytes = bytes(32), isvsvn: int | None = None
    ) -> bytes:
        """The enclave's seal key, 16 bytes, as its own EGETKEY gives it: at its current versions or an older ISVSVN.

        UsageError, also for an ISVSVN above the enclave's own.
        """
        secs, everything = self.secs, (1 << 64) - 1
        request = KeyRequest(
            keyname=KeyName.SEAL, keypolicy=policy,
            isvsvn=secs.isvsvn if isvsvn is None else isvsvn, cpusvn=self.cpu.fuses.cpusvn,
            attributemask=Attributes(flags=everything, xfrm=everything), keyid=keyid, miscmask=0,
            configsvn=secs.configsvn,
        )  # fmt: skip
        try:
            key = keys.egetkey(self.cpu.fuses, secs, request)
        except Fault as fault:
            raise UsageError(f"this enclave has no such key: {fault}") from fault
        if isinstance(key, Code):
            raise UsageError(f"this enclave has no such key: {key}")
        return key

    # ---- the bus

    def settle(self) -> None:
        """Caches and, with the integrity tree, its counters are written to DRAM."""
        super().settle()
        if isinstance(self._cipher, TreeCipher):
            self._cipher.settle()

    # ---- the administrator

    def host_read(self, page: int) -> bytes:
        """The EPC reads as all ones (abort page), the rest as it is. Refused where there is no memory."""
        return ONES if self._in_epc(page) else bytes(self.host_frame(page, write=False))

    def host_write(self, page: int, data: bytes) -> None:
        """Writes to the EPC are dropped (abort page). Refused where there is no memory."""
        if not self._in_epc(page):
            self.host_frame(page, write=True)[:] = data

    def device_read(self, page: int) -> bytes:
        """The range registers refuse DMA to the EPC. Refused."""
        self._check_device(page)
        return self.host_read(page)

    def device_write(self, page: int, data: bytes) -> None:
        """The range registers refuse DMA to the EPC. Refused."""
        self._check_device(page)
        self.host_write(page, data)

    def debug_read(self, address: int) -> bytes:
        """EDBGRD of a page, 512 times. Refused for an enclave without ATTRIBUTES.DEBUG, and where it has no page."""
        number = address >> 12
        if not self.driver.knows(number):
            raise Refused(f"the enclave has no page at {address:#x}")
        found = bytearray()
        try:
            page = self.driver.resident(number)
            for place in range(page * PAGE, (page + 1) * PAGE, WORD):
                word = edbgrd(self.cpu, place)
                if isinstance(word, Code):
                    raise Refused(f"EDBGRD: {word}")
                found += word
        except (Fault, Refusal) as refusal:
            raise Refused(str(refusal)) from refusal
        return bytes(found)

    def physical_page(self, host_address: int) -> int:
        """The EPC page behind a linear address, as the driver thinks. KeyError if it is not in the EPC."""
        number = host_address >> 12
        entry = self.driver.table.entries.get(number)
        return self.driver.pages[number] if entry is None else entry.target

    def remap(self, host_address: int, page: int) -> None:
        """The page table leads an address elsewhere. Refused if the enclave has no page there."""
        number = self._known_number(host_address)
        self.driver.table.set(host_address, page, self.driver.permissions[number])
        self.forget_translations()

    def withhold(self, host_address: int) -> None:
        """Clear the present bit. Refused if the enclave has no page there."""
        number = self._known_number(host_address)
        self.driver.withheld.add(number)
        self.driver.table.take(host_address)
        self.forget_translations()

    def give_back(self, host_address: int) -> None:
        """Set the present bit. Refused if the enclave has no page there."""
        self.driver.repair(self._known_number(host_address))
        self.forget_translations()

    def free_memory(self) -> int:
        """The EPC's free pages, and those that ordinary memory can take from it, in bytes."""
        return self.driver.swap.free_pages * PAGE

    def _put_back(self, host_address: int) -> bool:
        """A host that has no reason to withhold a page."""
        self.give_back(host_address)
        return True

    def _known_number(self, host_address: int) -> int:
        number = host_address >> 12
        if not self.driver.knows(number):
            raise Refused(f"the enclave has no page at {host_address:#x}")
        return number

    def _in_epc(self, page: int) -> bool:
        if not 0 <= page < self.shape.memory:
            raise Refused(f"there is no memory at physical page {page:#x}")
        return page in self.cpu.epcm

    def _check_device(self, page: int) -> None:
        if self._in_epc(page):
            raise Refused("DMA to the processor reserved memory: the range registers refuse it")
