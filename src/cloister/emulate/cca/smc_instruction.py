"""The instruction SMC in a program: a call to the monitor.

SMC is undefined at EL0: in a program it traps into the realm's kernel. The kernel of this realm carries out for the
program those services that are about attestation and about its own memory (Linux offers tokens through configfs-tsm).
Operands that are addresses are the program's own, virtual ones; the kernel puts in those that the monitor wants.
Registers are those of the RMM specification 1.0, "Realm Services Interface".
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.cca.rsi import RealmCalls, Rsi, RsiFailed, RsiStatus
from cloister.emulate.cca.smc import NOT_SUPPORTED
from cloister.emulate.cca.software_ports import CcaPorts
from cloister.emulate.engine_unsafe import Event
from cloister.emulate.machine import Ending
from cloister.emulate.paging import Access, MemoryFault
from cloister.measure.image import PAGE

__all__ = ["SmcInstruction"]

WORDS: Final = struct.Struct("<8Q")
LONGEST: Final = PAGE
"""What RSI_ATTEST_TOKEN_INIT says a token has at most."""


class SmcInstruction(CcaPorts):
    """A machine whose programs may execute SMC. `calls` are the monitor's services for its processor."""

    calls: RealmCalls

    def _react(self, event: Event) -> Ending | None:
        if self.engine.passed_monitor_call(event):
            self._call()
            return None
        return super()._react(event)

    def _call(self) -> None:
        """Status and results go to X0 and behind it. MemoryFault where memory is not there or has been taken."""
        served = self._served().get(self._register(0))
        if served is None:
            self._answer(NOT_SUPPORTED)
            return
        while True:
            try:
                self._answer(*served())
            except RsiFailed as failed:
                self._answer(failed.status)
            except MemoryFault as fault:
                if not self._repaired(fault):
                    raise
                continue
            return

    def _served(self) -> Mapping[int, Callable[[], tuple[int, ...]]]:
        return {
            Rsi.VERSION: lambda: (RsiStatus.SUCCESS, self.calls.version(), self.calls.version()),
            Rsi.MEASUREMENT_READ: self._measurement_read,
            Rsi.MEASUREMENT_EXTEND: self._measurement_extend,
            Rsi.ATTEST_TOKEN_INIT: self._token_init,
            Rsi.ATTEST_TOKEN_CONTINUE: self._token_continue,
            Rsi.REALM_CONFIG: self._realm_config,
            Rsi.IPA_STATE_GET: lambda: (
                RsiStatus.SUCCESS,
                self._register(1) + PAGE,
                self.calls.ipa_state_get(self._ipa(1, Access.READ)),
            ),
            Rsi.HOST_CALL: self._host_call,
        }

    def _measurement_read(self) -> tuple[int, ...]:
        return RsiStatus.SUCCESS, *WORDS.unpack(self.calls.measurement_read(self._register(1)).value.ljust(64, b"\0"))

    def _measurement_extend(self) -> tuple[int, ...]:
        self.calls.measurement_extend(self._register(1), self._words(3)[: self._register(2)])
        return (RsiStatus.SUCCESS,)

    def _token_init(self) -> tuple[int, ...]:
        self.calls.attest_token_init(self._words(1))
        return RsiStatus.SUCCESS, LONGEST

    def _token_continue(self) -> tuple[int, ...]:
        ipa = self._ipa(1, Access.WRITE)
        return self.calls.attest_token_continue(ipa, self._register(2), self._register(3))

    def _realm_config(self) -> tuple[int, ...]:
        self.calls.realm_config(self._ipa(1, Access.WRITE))
        return (RsiStatus.SUCCESS,)

    def _host_call(self) -> tuple[int, ...]:
        self.calls.host_call(self._ipa(1, Access.WRITE))
        return (RsiStatus.SUCCESS,)

    # ---- registers and addresses of the program

    def _register(self, number: int) -> int:
        return self.engine.read(f"x{number}")

    def _words(self, first: int) -> bytes:
        """64 bytes in eight registers."""
        return WORDS.pack(*(self._register(number) for number in range(first, first + 8)))

    def _answer(self, *values: int) -> None:
        for number, value in enumerate(values):
            self.engine.write(f"x{number}", value)

    def _ipa(self, number: int, access: Access) -> int:
        """The realm's address of a program's address in a register. MemoryFault if the program may not use it so."""
        address = self._register(number)
        self.frame_of(address, access)
        return self.guest.walk(address, access).target * PAGE + address % PAGE
