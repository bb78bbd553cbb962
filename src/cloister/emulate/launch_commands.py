"""The commands of a launch as they happen: a probe between the host and whoever serves it.

    log = CommandLog()
    with observed(machine, log):
        machine.launch(image)
    for run in log.runs:
        print(run.count, run.name, run.digest)

Nothing of the machine is changed: each call goes through, and is written down with the digest that it left behind.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloister.emulate.machine import Machine
from cloister.model import Tee

__all__ = ["CommandLog", "CommandRun", "observed"]

LOOP: Final = 4
"""The most commands that a host repeats in turn, such as EADD and EEXTEND: they are counted, not listed each."""

KEYSTONE: Final = {2001: "CREATE", 2002: "DESTROY", 2003: "RUN", 2005: "RESUME"}
"""The host's functions, as in sm-sbi-opensbi.h: SBI_SM_CREATE_ENCLAVE and so on."""


@dataclass(slots=True)
class CommandRun:
    """A command, how often it was given in this phase, and the running measurement after the last time ("" if none)."""

    name: str
    count: int = 0
    digest: str = ""


@dataclass
class CommandLog:
    """What was called, in order; repetitions within a loop of a few commands are counted."""

    runs: list[CommandRun] = field(default_factory=list)

    def add(self, name: str, digest: str) -> None:
        """One command that was executed."""
        known = next((run for run in self.runs[-LOOP:] if run.name == name), None)
        if known is None:
            known = CommandRun(name)
            self.runs.append(known)
        known.count, known.digest = known.count + 1, digest


@dataclass(frozen=True)
class _Probe:
    """`server` answers commands; `names` are its methods and what they are called, `digest` the measurement so far."""

    server: object
    names: Mapping[str, Callable[..., str]]
    digest: Callable[[], str]


@contextlib.contextmanager
def observed(machine: Machine, log: CommandLog) -> Iterator[None]:
    """While this lasts, write down the commands that the machine's host gives.

    SEV before SNP has a dialogue of its own (`sev.launch_steps`); it and machines without a launch write nothing.
    """
    probe = PROBES[machine.tee](machine) if machine.tee in PROBES else None
    if probe is None:
        yield
        return
    inside = False

    def watched(method: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: object, **options: object) -> object:
            nonlocal inside
            if inside:
                return method(*arguments, **options)  # a command's own use of another is not the host's
            inside = True
            try:
                result = method(*arguments, **options)
            finally:
                inside = False
            log.add(name(*arguments), probe.digest())
            return result

        return call

    for method, name in probe.names.items():
        setattr(probe.server, method, watched(getattr(probe.server, method), name))
    try:
        yield
    finally:
        for method in probe.names:
            delattr(probe.server, method)  # the class's own is behind it


def _always(name: str) -> Callable[..., str]:
    return lambda *_: name


def _sgx(machine: Any) -> _Probe:  # noqa: ANN401 - each probe knows its machine; they are imported when asked for
    driver = machine.driver

    def digest() -> str:
        return str(driver.enclave.measurement.digest().value.hex()) if hasattr(driver, "enclave") else ""

    return _Probe(driver, {"gives": str}, digest)


def _snp(machine: Any) -> _Probe:  # noqa: ANN401
    from cloister.emulate.snp.commands import Command  # noqa: PLC0415

    names = {one.name.removeprefix("SNP_").lower(): one.name for one in Command}

    def digest() -> str:
        page = machine.hypervisor.context
        return str(machine.firmware.launch_digest(page).hex()) if page >= 0 else ""

    return _Probe(machine.firmware, _methods(machine.firmware, names), digest)


def _tdx(machine: Any) -> _Probe:  # noqa: ANN401
    from cloister.emulate.tdx.calls import Seamcall  # noqa: PLC0415

    def digest() -> str:
        (td,) = machine.module.tds.values()
        return str(td.digest.hexdigest()) if hasattr(td, "digest") else ""

    names = {one.name.lower(): one.title for one in Seamcall}
    return _Probe(machine.module, _methods(machine.module, names), digest)


def _cca(machine: Any) -> _Probe:  # noqa: ANN401
    from cloister.emulate.cca.rmi import Rmi  # noqa: PLC0415

    def digest() -> str:
        return str(machine.measurement.value.hex()) if machine.hypervisor.has_realm else ""

    names = {one.name.lower(): one.title for one in Rmi}
    return _Probe(machine.rmm, _methods(machine.rmm, names), digest)


def _keystone(machine: Any) -> _Probe:  # noqa: ANN401
    def name(function: int, *_: int) -> str:
        return f"SBI_SM_{KEYSTONE[function]}_ENCLAVE" if function in KEYSTONE else f"SBI function {int(function)}"

    def digest() -> str:
        enclave = machine.monitor.enclaves[0]
        return str(enclave.hash.hex()) if enclave else ""

    return _Probe(machine.monitor, {"ecall": name}, digest)


def _methods(server: object, names: Mapping[str, str]) -> dict[str, Callable[..., str]]:
    """Those commands that this firmware has."""
    return {method: _always(name) for method, name in names.items() if hasattr(server, method)}


PROBES: Final[Mapping[Tee | None, Callable[[Any], _Probe]]] = {
    Tee.SGX: _sgx,
    Tee.SNP: _snp,
    Tee.TDX: _tdx,
    Tee.CCA: _cca,
    Tee.KEYSTONE: _keystone,
}
