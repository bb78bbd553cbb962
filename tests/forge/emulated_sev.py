"""Emulated AMD machines for tests: the firmware on a bench, whole machines with somebody who types, small programs."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.native import NativeMachine
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.firmware import Firmware
from cloister.emulate.sev.generations import GENERATIONS
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.sev.memory_port import CoherentMemory
from cloister.emulate.sev.owner import PRODUCTION, GuestOwner
from cloister.emulate.sev.sme import SmeMachine
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_secret import OwnerSession
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev_chain import SevChain
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission
from cloister.measure.sev import guest_digest
from cloister.verification.sev_chain import check_chain

__all__ = [
    "BALANCE", "CODE", "DATA", "ES_POLICY", "EXIT", "POLICY", "PRINTER", "READ_LINE", "RICHES", "TRUSTED", "Bench",
    "Session", "bench_of", "owner_of", "program", "quick_keystore", "sessions",
]  # fmt: skip

TRUSTED = 8
"""The page of the bench's trusted memory region."""

DATA = bytes(range(256)) * 16
POLICY = int(Policy.NODBG | Policy.NOKS)
ES_POLICY = int(Policy.NODBG | Policy.ES)


def quick_keystore(directory: Path) -> Keystore:
    """Authorities' keys of 2048 bits, which are quicker to make; whoever asks later gets the same."""
    found = Keystore(directory / "store")
    for product in ("Milan", "Genoa"):
        _ = AmdManufacturer(found, product, key_bits=2048).ask
    return found


# ---- the firmware alone


@dataclass
class Bench:
    """A firmware over real DRAM, caches and keys."""

    firmware: Firmware
    memory: CoherentMemory
    cache: FrameCache
    dram: Dram

    def put(self, page: int, content: bytes = DATA) -> int:
        """Write a page as the host; its address."""
        self.memory.write(page * PAGE, content, HOST_KEY)
        return page * PAGE

    def chips(self, page: int) -> bytes:
        """What stands in DRAM."""
        self.cache.write_back()
        return bytes(self.dram.page(page))

    def owner(self, policy: int = POLICY) -> OwnerSession:
        """A guest owner's session for this platform."""
        return OwnerSession.start(self.firmware.pdh_cert_export().pdh, policy=policy)

    def begin(self, policy: int = POLICY, asid: int = 0, session: OwnerSession | None = None) -> int:
        """LAUNCH_START and ACTIVATE."""
        certificate, buffer = (session.certificate, session.session) if session else (None, None)
        handle = self.firmware.launch_start(policy, certificate, buffer)
        allowed = self.firmware.generation.asids_for(encrypted_state=bool(policy & Policy.ES))
        self.firmware.activate(handle, asid or allowed.start)
        return handle

    def measured(self, policy: int = POLICY, session: OwnerSession | None = None) -> int:
        """A guest of one page, DATA at page 20, in the state SECRET."""
        handle = self.begin(policy, session=session)
        self.firmware.launch_update_data(handle, self.put(20), PAGE)
        self.firmware.launch_measure(handle)
        return handle


@contextlib.contextmanager
def bench_of(identity: SevPlatform, name: str = "milan", *, es: bool = True) -> Iterator[Bench]:
    """The firmware of a generation, after INIT."""
    generation = GENERATIONS[name]
    with Dram(64) as dram:
        controller = MemoryController(dram, slots=generation.asids + 1)
        controller.install(HOST_KEY, PlainCipher(dram))
        cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(16)], controller, lambda: None)
        memory = CoherentMemory(generation, controller, cache)
        firmware = Firmware(generation, identity, memory)
        firmware.init(trusted_region=TRUSTED * PAGE if es else None)
        yield Bench(firmware, memory, cache, dram)


# ---- whole machines


class Session:
    """One machine and its owner's terminal. `acts`: what is typed next, and what is done before that."""

    def __init__(self, make: Callable[[Terminal], Machine]) -> None:
        self.output = bytearray()
        self.acts: list[tuple[bytes, Callable[[], object] | None]] = []
        self.machine = make(sealed_terminal(self._read, self.output.extend))

    def _read(self, _size: int) -> bytes:
        if not self.acts:
            return b""
        line, act = self.acts.pop(0)
        if act:
            act()
        return line

    def meanwhile(self, act: Callable[[], object]) -> None:
        """Do this when the program waits for a line, then give it an empty one."""
        self.acts = [(b"\n", act)]

    @property
    def sev(self) -> SevMachine:
        """The machine, if it is one with SEV."""
        assert isinstance(self.machine, SevMachine)
        return self.machine

    def run(self, image: Image, steps: int = 0) -> Ending:
        """Launch and run a program."""
        self.machine.launch(image)
        return self.go(steps)

    def go(self, steps: int = 0) -> Ending:
        """Run the program that was launched."""
        self.machine.start(["program"], {"PATH": "/bin"})
        return self.machine.run(steps)

    def page_of(self, address: int) -> int:
        """The physical page behind an address of the program."""
        return self.machine.physical_page(self.machine.host_address(address))


@contextlib.contextmanager
def sessions(keystore: Keystore) -> Iterator[Callable[..., Session]]:
    """Makes sessions by the machine's name and its settings; all are closed in the end."""
    made: list[Session] = []

    def of(kind: str = "sev", shape: Shape = Shape(memory=8192), **settings: object) -> Session:  # noqa: B008 - immutable
        makers: dict[str, Callable[[Terminal], Machine]] = {
            "native": lambda terminal: NativeMachine(shape, terminal),
            "sme": lambda terminal: SmeMachine(shape, terminal, keystore, **settings),  # type: ignore[arg-type]
            "sev": lambda terminal: SevMachine(shape, terminal, keystore, **settings),  # type: ignore[arg-type]
            "sev-es": lambda terminal: SevMachine(shape, terminal, keystore, es=True, **settings),  # type: ignore[arg-type]
        }
        made.append(Session(makers[kind]))
        return made[-1]

    try:
        yield of
    finally:
        for one in made:
            one.machine.close()


def owner_of(image: Image, anchors: TrustAnchors, *, es: bool = False, **settings: object) -> GuestOwner:
    """An owner who expects this program on a platform under these anchors."""

    def check(chain: SevChain) -> None:
        check_chain(chain, anchors)

    values: dict[str, object] = {
        "expected": [guest_digest(GuestLayout.of(image), encrypted_state=es)],
        "check_platform": check,
        "policy": int(PRODUCTION) | (Policy.ES if es else 0),
    }
    return GuestOwner(**(values | settings))  # type: ignore[arg-type]


# ---- programs by hand

CODE, BALANCE, RICHES = 0x401000, 0x402000, 0x403000
"""Where a program's pages stand: its code, and two pages of data."""

EXIT = bytes.fromhex("b83c000000 31ff 0f05")
"""exit(0)"""

READ_LINE = bytes.fromhex("31c0 31ff 48c7c600304000 ba01000000 0f05")
"""read(0, RICHES, 1)"""

PRINT = bytes.fromhex("b801000000 bf01000000 48c7c600204000 ba18000000 0f05")
"""write(1, BALANCE, 24)"""

PRINTER = READ_LINE + PRINT + EXIT
"""Waits for a line, then prints what stands in its second page."""


def program(code: bytes, balance: bytes = b"", riches: bytes = b"") -> Image:
    """A program of these three pages."""
    both = Permission.READ | Permission.WRITE
    return Image(
        architecture=Architecture.X86_64, entry=CODE, headers=0, header_count=0, end=RICHES + PAGE,
        pages=(
            ImagePage(CODE, Permission.READ | Permission.EXECUTE, code.ljust(PAGE, b"\xcc")),
            ImagePage(BALANCE, both, balance.ljust(PAGE, b"\0")),
            ImagePage(RICHES, both, riches.ljust(PAGE, b"\0")),
        ),
    )  # fmt: skip
