"""The monitor's calls as the host really makes them: a function identifier and numbers in, numbers out.

    status, *results = host_call(rmm, Rmi.DATA_DESTROY, rd, ipa)

For whoever wants to speak to the monitor without this project's hypervisor, an attacker for example. Registers are
those of SMCCC: the identifier in X0, up to six arguments behind it; status in X0, results behind it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.cca.rec import Exit, ExitReason
from cloister.emulate.cca.rmi import CallFailed, Rmi
from cloister.emulate.cca.rmm import Rmm

__all__ = ["NOT_SUPPORTED", "host_call"]

NOT_SUPPORTED: Final = (1 << 64) - 1
"""SMCCC's answer to an identifier that nobody serves: -1."""

Served = Callable[..., tuple[int, ...]]


def _none(method: Callable[..., None]) -> Served:
    """A call without results."""

    def served(rmm: Rmm, *arguments: int) -> tuple[int, ...]:
        method(rmm, *arguments)
        return ()

    return served


def _one(method: Callable[..., int]) -> Served:
    """A call with one result."""

    def served(rmm: Rmm, *arguments: int) -> tuple[int, ...]:
        return (method(rmm, *arguments),)

    return served


def _read_entry(rmm: Rmm, rd: int, ipa: int, level: int) -> tuple[int, ...]:
    return tuple(int(one) for one in rmm.rtt_read_entry(rd, ipa, level))


def _rec_enter(rmm: Rmm, rec: int, run: int) -> tuple[int, ...]:
    """Enter and be left again at once, as with an interrupt that is pending: no machine runs the processor here."""
    registers = rmm.rec_enter(rec, run)
    rmm.rec_exit(rec, run, registers, Exit(ExitReason.IRQ))
    return ()


SERVED: Final[Mapping[int, tuple[int, Served]]] = {
    Rmi.VERSION: (0, _one(Rmm.version)),
    Rmi.FEATURES: (0, _one(Rmm.features)),
    Rmi.GRANULE_DELEGATE: (1, _none(Rmm.granule_delegate)),
    Rmi.GRANULE_UNDELEGATE: (1, _none(Rmm.granule_undelegate)),
    Rmi.DATA_CREATE: (5, _none(Rmm.data_create)),
    Rmi.DATA_CREATE_UNKNOWN: (3, _none(Rmm.data_create_unknown)),
    Rmi.DATA_DESTROY: (2, _one(Rmm.data_destroy)),
    Rmi.REALM_ACTIVATE: (1, _none(Rmm.realm_activate)),
    Rmi.REALM_CREATE: (2, _none(Rmm.realm_create)),
    Rmi.REALM_DESTROY: (1, _none(Rmm.realm_destroy)),
    Rmi.REC_AUX_COUNT: (1, _one(Rmm.rec_aux_count)),
    Rmi.REC_CREATE: (3, _none(Rmm.rec_create)),
    Rmi.REC_DESTROY: (1, _none(Rmm.rec_destroy)),
    Rmi.REC_ENTER: (2, _rec_enter),
    Rmi.RTT_CREATE: (4, _none(Rmm.rtt_create)),
    Rmi.RTT_DESTROY: (3, _one(Rmm.rtt_destroy)),
    Rmi.RTT_READ_ENTRY: (3, _read_entry),
    Rmi.RTT_MAP_UNPROTECTED: (4, _none(Rmm.rtt_map_unprotected)),
    Rmi.RTT_UNMAP_UNPROTECTED: (3, _none(Rmm.rtt_unmap_unprotected)),
    Rmi.RTT_INIT_RIPAS: (3, _one(Rmm.rtt_init_ripas)),
    Rmi.RTT_SET_RIPAS: (4, _one(Rmm.rtt_set_ripas)),
}
"""Identifier -> how many arguments it takes, and what serves it."""


def host_call(rmm: Rmm, call: int, *arguments: int) -> tuple[int, ...]:
    """One SMC of the host: status, then results. Arguments that are missing are zero. MonitorPanic."""
    if call not in SERVED:
        return (NOT_SUPPORTED,)
    count, served = SERVED[call]
    given = (*arguments, *(0,) * count)[:count]
    try:
        return (0, *served(rmm, *given))
    except CallFailed as failed:
        return (failed.code,)
