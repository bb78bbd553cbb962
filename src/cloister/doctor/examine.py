"""The whole examination: every check, the verdict, and who can still read."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloister.adversaries import ADVERSARIES, MODES, Adversary
from cloister.doctor.check import Check, Command, NoFix, Status
from cloister.doctor.enclave import enclave_checks
from cloister.doctor.exposure import exposure_checks
from cloister.doctor.frameworks import framework_checks
from cloister.doctor.guest import guest_checks
from cloister.doctor.host import host_checks
from cloister.doctor.machine import Machine
from cloister.doctor.processor import LEAVES
from cloister.doctor.processor_unsafe import read_processor
from cloister.doctor.runtime import RUNTIME_PATH, look_at_runtime, runtime_check

__all__ = ["Declared", "Diagnosis", "Observed", "Reader", "as_json", "examine"]

MACHINE = Machine()


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """A row of the table that this run measured, and how."""

    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A row that this run did not measure, and why."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One row of "who can still read this", and what it rests on here."""

    adversary: Adversary
    basis: Observed | Declared


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """The result. `obstacles` are the needed checks that are not `ok`; none means that the software enclave works."""

    checks: tuple[Check, ...]
    obstacles: tuple[Check, ...]
    readers: tuple[Reader, ...]

    @property
    def works(self) -> bool:
        """Whether the software enclave can run here."""
        return not self.obstacles


def examine(runtime: Path = RUNTIME_PATH, machine: Machine = MACHINE) -> Diagnosis:
    """Make every check, of this machine and this installation unless a test brings others."""
    cpuid = read_processor(LEAVES)
    file = look_at_runtime(runtime, machine)
    checks = (
        *enclave_checks(machine, file),
        runtime_check(file),
        *exposure_checks(machine),
        *host_checks(machine, cpuid),
        *guest_checks(machine, cpuid),
        *framework_checks(),
    )
    obstacles = tuple(check for check in checks if check.needed and check.status is not Status.OK)
    return Diagnosis(checks=checks, obstacles=obstacles, readers=readers(checks))


def readers(checks: tuple[Check, ...]) -> tuple[Reader, ...]:
    """The table, each row with what it rests on: `memfd_secret` is all that this command observes of it."""
    secret = next(check for check in checks if check.name == "memfd_secret")
    we_are = "root" if os.geteuid() == 0 else "user"
    unseen = Declared(why="not tested here; `cloister prove` observes it for a program")
    beyond = Declared(why="not tested: it takes an attack from inside the kernel or on the hardware")
    by_key: dict[str, Observed | Declared] = {"user": unseen, "root": unseen, "kernel": beyond, "physical": beyond}
    by_key[we_are] = _as_seen(secret)
    return tuple(Reader(adversary=row, basis=by_key[row.key]) for row in ADVERSARIES)


def _as_seen(secret: Check) -> Observed | Declared:
    """What `memfd_secret` shows about this user as a reader: one way of reading out of several."""
    if secret.status is not Status.OK:
        return Declared(why=f"secret memory is {secret.status} here")
    return Observed(how="/proc/PID/mem read ordinary memory, not secret memory; the other ways: `cloister prove`")


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The document of `--json`; docs/how-to/check-the-machine.md describes every field."""
    return {
        "version": 1,
        "software_enclave": {"works": diagnosis.works, "obstacles": [check.name for check in diagnosis.obstacles]},
        "checks": [_check(check) for check in diagnosis.checks],
        "who_can_still_read": [_reader(reader) for reader in diagnosis.readers],
    }


def _check(check: Check) -> dict[str, Any]:
    fields = asdict(check) | {"group": check.group.value, "status": check.status.value}
    match check.fix:
        case Command(text=text):
            return fields | {"fix": text, "no_fix_because": None}
        case NoFix(reason=reason):
            return fields | {"fix": None, "no_fix_because": reason}


def _reader(reader: Reader) -> dict[str, Any]:
    row = {"who": reader.adversary.who, "declared": dict(zip(MODES, reader.adversary.reads, strict=True))}
    match reader.basis:
        case Observed(how=how):
            return row | {"observed_here": how, "not_observed_because": None}
        case Declared(why=why):
            return row | {"observed_here": None, "not_observed_because": why}
