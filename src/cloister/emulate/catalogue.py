"""The machines by name, and how each is made. Machines are imported when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.emulate.machine import Machine, Shape
from cloister.emulate.native import NativeArmMachine, NativeMachine, NativeRiscvMachine
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError
from cloister.measure.image import Architecture

__all__ = ["KINDS", "NATIVE", "Kind", "kind_of", "native_kind"]


class Make(Protocol):
    """How a machine is made; `debug` asks for the TEE's debug mode, UsageError where it has none."""

    def __call__(self, shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One machine: its name on the command line, its title for people, what it runs, and how it is made."""

    name: str
    title: str
    architecture: Architecture
    make: Make


def _sgx(integrity: str) -> Make:
    def make(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        from cloister.emulate.sgx.machine import SgxMachine  # noqa: PLC0415 - imported when asked for

        return SgxMachine(shape, terminal, keystore, debug=debug, integrity=integrity)

    return make


def _sme(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.sev.sme import SmeMachine  # noqa: PLC0415

    _no_debug("sme", debug=debug)
    return SmeMachine(shape, terminal, keystore)


def _sev(*, es: bool) -> Make:
    def make(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        from cloister.emulate.sev.machine import SevMachine  # noqa: PLC0415

        return SevMachine(shape, terminal, keystore, es=es, debug=debug)

    return make


def _snp(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.snp.machine import SnpMachine  # noqa: PLC0415

    return SnpMachine(shape, terminal, keystore, debug=debug)


def _tdx(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.tdx.machine import TdxMachine  # noqa: PLC0415

    return TdxMachine(shape, terminal, keystore, debug=debug)


def _trustzone(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.trustzone.machine import TrustZoneMachine  # noqa: PLC0415

    return TrustZoneMachine(shape, terminal, keystore, debug=debug)


def _cca(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.cca.machine import CcaMachine  # noqa: PLC0415

    return CcaMachine(shape, terminal, keystore, debug=debug)


def _keystone(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
    from cloister.emulate.keystone.machine import KeystoneMachine  # noqa: PLC0415

    _no_debug("keystone", debug=debug)
    return KeystoneMachine(shape, terminal, keystore)


NATIVES: Final[Mapping[Architecture, type[NativeMachine]]] = {
    one.architecture: one for one in (NativeMachine, NativeArmMachine, NativeRiscvMachine)
}


def native_kind(architecture: Architecture) -> Kind:
    """A machine without a TEE, for one instruction set."""

    def make(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        del keystore
        _no_debug("native", debug=debug)
        return NATIVES[architecture](shape, terminal)

    return Kind("native", "no TEE", architecture, make)


def _no_debug(name: str, *, debug: bool) -> None:
    if debug:
        raise UsageError(f"{name} has no debug mode: its architecture knows none")


NATIVE: Final = native_kind(Architecture.X86_64)
KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("sgx", "Intel SGX, client (integrity tree)", Architecture.X86_64, _sgx("mee")),
        Kind("sgx-scalable", "Intel SGX, server (TME-MK)", Architecture.X86_64, _sgx("scalable")),
        Kind("sme", "AMD SME", Architecture.X86_64, _sme),
        Kind("sev", "AMD SEV", Architecture.X86_64, _sev(es=False)),
        Kind("sev-es", "AMD SEV-ES", Architecture.X86_64, _sev(es=True)),
        Kind("sev-snp", "AMD SEV-SNP", Architecture.X86_64, _snp),
        Kind("tdx", "Intel TDX", Architecture.X86_64, _tdx),
        Kind("trustzone", "Arm TrustZone", Architecture.ARM64, _trustzone),
        Kind("cca", "Arm CCA", Architecture.ARM64, _cca),
        Kind("keystone", "RISC-V Keystone", Architecture.RISCV64, _keystone),
    )
}


def kind_of(name: str) -> Kind:
    """The machine of a name. UsageError with the names that there are."""
    kind = NATIVE if name == NATIVE.name else KINDS.get(name)
    if kind is None:
        raise UsageError(f"no emulated machine is called {name!r}; there are {', '.join(KINDS)}")
    return kind
