"""The SEV firmware's platform commands (AMD 55766, SEV API, chapter 5): start, keys, certificates, caches."""

import hashlib
import secrets
from typing import Final

from cloister.emulate.sev.commands import Command, CommandFailed, PlatformState, PlatformStatus, Status
from cloister.emulate.sev.context import GuestContext, MemoryPort
from cloister.emulate.sev.generations import Generation
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.evidence.sev_chain import SevChain

__all__ = ["BUILD", "CHECK_SIZE", "TRUSTED_KEY", "Platform"]

BUILD: Final = 20
"""Of the firmware; part of each launch measurement."""

CHECK_SIZE: Final = 32
"""Bytes of a save area's check value in the trusted memory region, one for each ASID."""

TRUSTED_KEY: Final = 1 << 16
"""The key id of the trusted memory region: none that a guest can have."""


class Platform:
    """The firmware of one security processor: what it needs before there are guests.

    `identity` are its keys and certificates, `memory` how it reaches DRAM and the memory controller. Commands raise
    CommandFailed with the firmware's status.
    """

    def __init__(self, generation: Generation, identity: SevPlatform, memory: MemoryPort) -> None:
        self.generation, self.memory = generation, memory
        self._identity = identity
        self.guests: dict[int, GuestContext] = {}
        self.state = PlatformState.UNINIT
        self.trusted_region: int | None = None
        self._dirty_asids: set[int] = set()
        self._caches_written = True

    def init(self, *, trusted_region: int | None = None) -> None:
        """INIT. With SEV-ES the host gives up memory for check values: its address, `trusted_size` bytes."""
        self._expect(Command.INIT, PlatformState.UNINIT)
        self.state, self.trusted_region = PlatformState.INIT, trusted_region
        if trusted_region is not None:
            self.memory.install(TRUSTED_KEY, secrets.token_bytes(self.generation.key_bits // 8))
            self.memory.write(trusted_region, bytes(self.trusted_size), TRUSTED_KEY)

    @property
    def trusted_size(self) -> int:
        """Bytes of the trusted memory region: a check value for each ASID. Real firmware wants a whole MiB."""
        return (self.generation.es_asids + 1) * CHECK_SIZE

    def shutdown(self) -> None:
        """SHUTDOWN: all guests are lost, their keys wiped."""
        for guest in self.guests.values():
            if guest.asid:
                self.memory.remove(guest.asid)
        if self.trusted_region is not None:
            self.memory.remove(TRUSTED_KEY)
        self.guests.clear()
        self._dirty_asids.clear()
        self.state, self.trusted_region = PlatformState.UNINIT, None

    def platform_status(self) -> PlatformStatus:
        """PLATFORM_STATUS: in every state, for everybody on the host."""
        return PlatformStatus(
            state=self._current(), api=self._identity.api, build=BUILD,
            encrypted_state=self.trusted_region is not None, guests=len(self.guests),
        )  # fmt: skip

    def pek_gen(self) -> None:
        """PEK_GEN (5.7): other keys; the platform is nobody's but its own."""
        self._expect(Command.PEK_GEN, PlatformState.INIT)
        self._identity = self._identity.with_new_pek()

    def pdh_gen(self) -> None:
        """PDH_GEN (5.9): another PDH. Sessions that owners wrapped for the old one cannot be opened any more."""
        self._expect(Command.PDH_GEN, PlatformState.INIT, PlatformState.WORKING)
        self._identity = self._identity.with_new_pdh()

    def pdh_cert_export(self) -> SevChain:
        """PDH_CERT_EXPORT: PDH, PEK, OCA and CEK, and with them AMD's two, which AMD's server gives out."""
        self._expect(Command.PDH_CERT_EXPORT, PlatformState.INIT, PlatformState.WORKING)
        return self._identity.chain

    def get_id(self) -> bytes:
        """GET_ID: by which AMD's server finds the chip's CEK certificate, 64 bytes; here a hash of its key."""
        return hashlib.sha512(self._identity.chain.cek.pubkey).digest()

    def wbinvd(self) -> None:
        """Not a command: the processor tells that all cores have written their caches back (WBINVD)."""
        self._caches_written = True

    def df_flush(self) -> None:
        """DF_FLUSH: the data fabric's buffers too. Then ASIDs that were given back may be used again."""
        self._expect(Command.DF_FLUSH, PlatformState.INIT, PlatformState.WORKING)
        if not self._caches_written:
            reason = "all cores must execute WBINVD first: caches may hold lines of the ASIDs that were given back"
            raise CommandFailed(Command.DF_FLUSH, Status.WBINVD_REQUIRED, reason)
        self._dirty_asids.clear()

    def _given_back(self, asid: int) -> None:
        """An ASID may not be used again before caches and buffers are empty."""
        self._dirty_asids.add(asid)
        self._caches_written = False

    def _current(self) -> PlatformState:
        if self.state is PlatformState.INIT and self.guests:
            return PlatformState.WORKING
        return self.state

    def _expect(self, command: Command, *states: PlatformState) -> None:
        if self._current() not in states:
            wanted = " or ".join(state.name for state in states)
            reason = f"the platform is {self._current().name}, not {wanted}"
            raise CommandFailed(command, Status.INVALID_PLATFORM_STATE, reason)
