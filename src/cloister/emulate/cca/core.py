"""What all of the monitor's calls stand on: its memory, its books, and how it finds realms and their tables.

Realm Management Monitor specification 1.0 (Arm DEN0137); the order of checks is TF-RMM 1.0's, runtime/rmi.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from cloister._wire import Record
from cloister.emulate.cca.gpt import GranuleProtectionFault, GranuleProtectionTable, Pas, World
from cloister.emulate.cca.granules import Granules, GranuleState
from cloister.emulate.cca.memory import MONITOR_MECID, SCRUB_MECID, PasMemory, key_of
from cloister.emulate.cca.realm import RealmDescriptor, load_realm, save_realm
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic, Rmi, RmiStatus
from cloister.emulate.cca.rtt import Tables, map_size
from cloister.emulate.paging import HOST_KEY
from cloister.errors import ParseError
from cloister.measure.image import PAGE

__all__ = ["TABLE_KEY", "Core", "Realm"]

TABLE_KEY: Final = key_of(MONITOR_MECID)
"""What realm descriptors and translation tables are encrypted under."""


R = TypeVar("R", bound=Record)


class Realm:
    """A realm during one call: its RD's page, what stands in it, and its tables."""

    def __init__(self, memory: PasMemory, page: int, descriptor: RealmDescriptor) -> None:
        self._memory, self.page, self.descriptor = memory, page, descriptor
        self.tables = Tables(memory, descriptor.root, descriptor.level, TABLE_KEY)

    def keep(self) -> None:
        """What changed goes into the RD."""
        save_realm(self._memory, self.page, self.descriptor)

    def aligned(self, ipa: int, level: int) -> bool:
        """Whether an address is one of the realm's, and the first of an entry of a level."""
        return 0 <= ipa < 1 << self.descriptor.s2sz and ipa % map_size(level) == 0


class Core:
    """The monitor's memory and books. `count`: granules from 0 on that may be delegated.

    `names` are the registers of a program. `shootdown` is called when translations of a realm that were valid no longer
    are, `withdrawn` with a page that ceases to be the host's.
    """

    def __init__(
        self,
        memory: PasMemory,
        gpt: GranuleProtectionTable,
        count: int,
        names: tuple[str, ...],
        shootdown: Callable[[], None],
        withdrawn: Callable[[int], None],
    ) -> None:
        self.memory, self.gpt = memory, gpt
        self.granules = Granules(count)
        self.names = names
        self.shootdown, self.withdrawn = shootdown, withdrawn
        self.mecids: set[int] = set()
        self.vmids: dict[int, int] = {}
        """By page of the RD."""

        self.owners: dict[int, int] = {}
        """By page of a REC: the page of its realm's RD."""

        self.aux: dict[int, list[int]] = {}
        """By page of a REC: its auxiliary granules."""

    def realm(self, call: Rmi, address: int) -> Realm:
        """The realm of an RD's address. CallFailed; MonitorPanic."""
        return self.realm_at(self.granules.require(call, address, GranuleState.RD))

    def realm_at(self, page: int) -> Realm:
        """The realm of an RD's page. MonitorPanic."""
        descriptor = load_realm(self.memory, page)
        self.key_of_mecid(page, descriptor.mecid)
        return Realm(self.memory, page, descriptor)

    def key_of_mecid(self, page: int, mecid: int) -> int:
        """The key id of a MECID that stands in the RD of a page. MonitorPanic if no realm has it."""
        if mecid not in self.mecids:
            raise MonitorPanic(f"the realm descriptor in granule {page:#x} has a MECID of no realm: DRAM was changed")
        return key_of(mecid)

    def from_host(self, call: Rmi, address: int) -> bytes:
        """4,096 bytes that the host left in a granule of its own. CallFailed if it is not the host's."""
        page = self.granules.page_of(address)
        if page is None or self.granules.state(page) is not GranuleState.NS:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"{address:#x} is no granule of the non-secure world")
        self.require_host(call, page)
        return self.memory.read(page, HOST_KEY)

    def require_host(self, call: Rmi, page: int) -> None:
        """The monitor's own access to the host's memory is checked as well: it may be the Secure world's."""
        try:
            self.gpt.check(page, World.REALM, Pas.NON_SECURE)
        except GranuleProtectionFault as fault:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, str(fault)) from fault

    def parameters(self, call: Rmi, kind: type[R], address: int) -> R:
        """A structure of parameters that the host left in a granule. CallFailed if it is none."""
        try:
            return kind.parse(self.from_host(call, address))
        except ParseError as error:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, str(error)) from error

    def wiped(self, page: int) -> None:
        """A granule goes back to DELEGATED, zeroed, so that nobody finds what it held."""
        self.memory.put(page, key_of(SCRUB_MECID))
        self.granules.set(page, GranuleState.DELEGATED)
        if self.granules.references.pop(page, 0) > 0:
            raise MonitorPanic(f"granule {page * PAGE:#x} was given up while it was in use")
