"""What the firmware keeps of each guest, out of everybody's reach."""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from cloister.emulate.sev.commands import GuestState, Policy
from cloister.emulate.vendors.amd_sev_session import TransportKeys

__all__ = ["GuestContext", "MemoryPort"]


class MemoryPort(Protocol):
    """How the security processor reaches memory and the memory controller's keys. Addresses and sizes in bytes.

    A key id is an ASID, or HOST_KEY for what the host sees.
    """

    def read(self, address: int, size: int, key_id: int) -> bytes:
        """What stands there under a key. IndexError where there is no memory."""

    def write(self, address: int, data: bytes, key_id: int) -> None:
        """Write under a key; what else stands in the pages is what that key makes of them. IndexError."""

    def install(self, asid: int, key: bytes) -> None:
        """Give an ASID its key."""

    def remove(self, asid: int) -> None:
        """Take the key of an ASID away."""


@dataclass(slots=True, kw_only=True)
class GuestContext:
    """One guest: its memory key, the keys it shares with its owner, and its running measurement."""

    policy: Policy
    memory_key: bytes = field(repr=False)
    transport: TransportKeys = field(repr=False)
    state: GuestState = GuestState.LAUNCHING
    asid: int = 0
    measured: "hashlib._Hash" = field(default_factory=hashlib.sha256, repr=False)
    measure: bytes = b""

    @property
    def launch_digest(self) -> bytes:
        """SHA-256 over all that was taken in so far: 32 bytes."""
        return self.measured.digest()


def fresh_keys() -> TransportKeys:
    """Transport keys that only this firmware knows, for a guest without an owner's session."""
    return TransportKeys.joined(secrets.token_bytes(32))
