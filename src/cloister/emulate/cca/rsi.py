"""What a realm asks of the monitor: RSI, version 1.0.

Realm Management Monitor specification 1.0 (Arm DEN0137), "Realm Services Interface"; TF-RMM 1.0, runtime/rsi. Addresses
are the realm's own (IPA), in bytes.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from cloister.emulate.cca.core import Realm
from cloister.emulate.cca.realm import REGISTERS
from cloister.emulate.cca.rec import Exit, ExitReason
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.cca.rtt import Hipas, Ripas
from cloister.emulate.vendors.arm import BootedPlatform
from cloister.emulate.vendors.arm_claims import RealmState as MeasuredRealm
from cloister.errors import CloisterError
from cloister.measure.image import PAGE
from cloister.model import Digest

__all__ = ["CHALLENGE", "RealmCalls", "RealmConfig", "Rsi", "RsiFailed", "RsiStatus"]

CHALLENGE: Final = 64
"""Bytes of an attestation challenge."""

VERSION: Final = 1 << 16
MOST_EXTENDED: Final = 64
HOST_CALL: Final = struct.Struct("<H6x31Q")
"""`struct rsi_host_call`: a number, then registers."""

PASSED: Final = 31


class Rsi(IntEnum):
    """Function identifiers."""

    VERSION = 0xC4000190
    MEASUREMENT_READ = 0xC4000192
    MEASUREMENT_EXTEND = 0xC4000193
    ATTEST_TOKEN_INIT = 0xC4000194
    ATTEST_TOKEN_CONTINUE = 0xC4000195
    REALM_CONFIG = 0xC4000196
    IPA_STATE_SET = 0xC4000197
    IPA_STATE_GET = 0xC4000198
    HOST_CALL = 0xC4000199

    @property
    def title(self) -> str:
        """As Arm writes it: RSI_HOST_CALL."""
        return f"RSI_{self.name}"


class RsiStatus(IntEnum):
    """How a call ended."""

    SUCCESS = 0
    ERROR_INPUT = 1
    ERROR_STATE = 2
    INCOMPLETE = 3


class RsiFailed(CloisterError):
    """The monitor refused a call of the realm: `call`, `status`, and the reason in words for people."""

    def __init__(self, call: Rsi, status: RsiStatus, reason: str) -> None:
        self.call, self.status, self.reason = call, status, reason
        super().__init__(f"{call.title}: RSI_{status.name}: {reason}")


class RealmConfig(NamedTuple):
    """`struct rsi_realm_config`: the width of addresses in bits, the hash's number, the personalisation value."""

    ipa_width: int
    hash_algo: int
    rpv: bytes


@dataclass
class _Attestation:
    """A token under way: what it answers, and its bytes once they are made."""

    challenge: bytes
    token: bytes = b""
    given: int = 0


class RealmCalls:
    """The calls of one processor, `rec`, of the realm `rd` (both addresses).

    `reach` gives a page of the realm's memory, writable; `booted` is the platform that signs; `ask_host` leaves the
    realm and comes back after the host did what it wants to.
    """

    def __init__(
        self,
        rmm: Rmm,
        rd: int,
        rec: int,
        reach: Callable[[int], memoryview],
        booted: Callable[[], BootedPlatform],
        ask_host: Callable[[Exit], tuple[int, ...]],
    ) -> None:
        self._rmm, self._rd, self._rec = rmm, rd, rec
        self._reach, self._booted, self._ask_host = reach, booted, ask_host
        self._attestation: _Attestation | None = None

    @property
    def realm(self) -> Realm:
        """The realm as its RD has it now."""
        return self._rmm.realm_at(self._rd // PAGE)

    def version(self) -> int:
        """RSI_VERSION."""
        return VERSION

    # ---- measurement

    def measurement_read(self, index: int) -> Digest:
        """RSI_MEASUREMENT_READ: 0 is the initial measurement, 1 to 4 are the extensible ones. RsiFailed."""
        if not 0 <= index <= REGISTERS:
            raise RsiFailed(Rsi.MEASUREMENT_READ, RsiStatus.ERROR_INPUT, f"register {index}: there are 0 to 4")
        descriptor = self.realm.descriptor
        return descriptor.rems[index - 1] if index else descriptor.rim.digest

    def measurement_extend(self, index: int, value: bytes) -> None:
        """RSI_MEASUREMENT_EXTEND of register 1 to 4 with 1 to 64 bytes. RsiFailed."""
        if not 1 <= index <= REGISTERS or not 1 <= len(value) <= MOST_EXTENDED:
            reason = f"register {index} with {len(value)} bytes: 1 to 4, 1 to {MOST_EXTENDED} bytes"
            raise RsiFailed(Rsi.MEASUREMENT_EXTEND, RsiStatus.ERROR_INPUT, reason)
        realm = self.realm
        realm.descriptor.extend(index - 1, value)
        realm.keep()

    # ---- attestation

    def attest_token_init(self, challenge: bytes) -> None:
        """RSI_ATTEST_TOKEN_INIT with a challenge of 64 bytes. A token that was under way is dropped."""
        if len(challenge) != CHALLENGE:
            reason = f"a challenge has {CHALLENGE} bytes, not {len(challenge)}"
            raise RsiFailed(Rsi.ATTEST_TOKEN_INIT, RsiStatus.ERROR_INPUT, reason)
        self._attestation = _Attestation(challenge)

    def attest_token_continue(self, ipa: int, offset: int, size: int) -> tuple[RsiStatus, int]:
        """RSI_ATTEST_TOKEN_CONTINUE: the next bytes of the token, at most `size`, go to a page of the realm.

        Returns how many, and INCOMPLETE if there are more. RsiFailed.
        """
        under_way = self._attestation
        if under_way is None:
            raise RsiFailed(Rsi.ATTEST_TOKEN_CONTINUE, RsiStatus.ERROR_STATE, "no token was begun")
        if ipa % PAGE or not self.realm.descriptor.protected(ipa) or not 0 <= offset < offset + size <= PAGE:
            reason = f"{size} bytes at {offset} of {ipa:#x} are no part of a page of the realm's own"
            raise RsiFailed(Rsi.ATTEST_TOKEN_CONTINUE, RsiStatus.ERROR_INPUT, reason)
        under_way.token = under_way.token or self._token(under_way.challenge)
        part = under_way.token[under_way.given : under_way.given + size]
        self._reach(ipa)[offset : offset + len(part)] = part
        under_way.given += len(part)
        if under_way.given < len(under_way.token):
            return RsiStatus.INCOMPLETE, len(part)
        self._attestation = None
        return RsiStatus.SUCCESS, len(part)

    def _token(self, challenge: bytes) -> bytes:
        """What the monitor signs about the realm as it is now."""
        descriptor = self.realm.descriptor
        first, second, third, fourth = (one.value for one in descriptor.rems)
        measured = MeasuredRealm(
            initial_measurement=descriptor.rim.digest.value,
            extensible_measurements=(first, second, third, fourth),
            personalization_value=descriptor.rpv,
            hash_algorithm=descriptor.rim.digest.algorithm.replace("sha", "sha-"),
        )
        return self._booted().cca_token(challenge, measured)

    def token(self, challenge: bytes, buffer: int, size: int = PAGE) -> bytes:
        """What a kernel does for a token: begin, then fetch it through the page `buffer`, `size` bytes at a time."""
        self.attest_token_init(challenge)
        whole = b""
        while True:
            status, written = self.attest_token_continue(buffer, 0, size)
            whole += bytes(self._reach(buffer)[:written])
            if status is RsiStatus.SUCCESS:
                return whole

    # ---- the rest

    def realm_config(self, ipa: int) -> RealmConfig:
        """RSI_REALM_CONFIG into a page of the realm; what stands there then."""
        descriptor = self.realm.descriptor
        if ipa % PAGE or not descriptor.protected(ipa):
            raise RsiFailed(Rsi.REALM_CONFIG, RsiStatus.ERROR_INPUT, f"{ipa:#x} is no page of the realm's own")
        number = int(descriptor.rim.digest.algorithm == "sha512")
        frame = self._reach(ipa)
        frame[:] = (struct.pack("<QB", descriptor.s2sz, number).ljust(0x200, b"\0") + descriptor.rpv).ljust(PAGE, b"\0")
        return RealmConfig(descriptor.s2sz, number, descriptor.rpv)

    def ipa_state_get(self, ipa: int) -> Ripas:
        """RSI_IPA_STATE_GET of one page. RsiFailed."""
        realm = self.realm
        if ipa % PAGE or not realm.descriptor.protected(ipa):
            raise RsiFailed(Rsi.IPA_STATE_GET, RsiStatus.ERROR_INPUT, f"{ipa:#x} is no page of the realm's own")
        entry = realm.tables.walk(ipa).entry
        if entry.hipas is Hipas.TABLE:
            raise RsiFailed(Rsi.IPA_STATE_GET, RsiStatus.ERROR_STATE, f"{ipa:#x} leads to no entry")
        return entry.ripas

    def ipa_state_set(self, base: int, top: int, value: Ripas, *, change_destroyed: bool = False) -> int:
        """RSI_IPA_STATE_SET: the host is asked to make a range RAM or EMPTY. Returns how far it did.

        What the host destroyed stays so unless the realm says that it accepts the loss. RsiFailed.
        """
        realm = self.realm
        if value > Ripas.RAM or base % PAGE or top % PAGE or not 0 <= base < top <= realm.descriptor.half:
            reason = f"[{base:#x}, {top:#x}) to {value.name}"
            raise RsiFailed(Rsi.IPA_STATE_SET, RsiStatus.ERROR_INPUT, reason)
        context = self._rmm.context(self._rec // PAGE)
        context.begin_ripas(base, top, value, destroyed=change_destroyed)
        self._ask_host(Exit(ExitReason.RIPAS_CHANGE, ripas_base=base, ripas_top=top, ripas_value=value))
        return context.ripas_reached

    def host_call(self, ipa: int) -> None:
        """RSI_HOST_CALL: the host sees the number and registers that stand in a page of the realm, and no others.

        What it answers stands there afterwards.
        """
        if ipa % 0x100 or not self.realm.descriptor.protected(ipa):
            raise RsiFailed(Rsi.HOST_CALL, RsiStatus.ERROR_INPUT, f"{ipa:#x} is no place of the realm's own")
        place = ipa % PAGE
        number, *passed = HOST_CALL.unpack_from(self._reach(ipa - place), place)
        answer = self._ask_host(Exit(ExitReason.HOST_CALL, imm=number, gprs=tuple(passed)))
        kept = (*answer, *passed[len(answer) :])[:PASSED]
        HOST_CALL.pack_into(self._reach(ipa - place), place, number, *kept)
