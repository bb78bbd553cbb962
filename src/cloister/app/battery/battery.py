"""All attacks in order, and the run of them: native first, then enclaved, one after another."""

import fnmatch
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.app.battery.attack import Attack, Attempt, NotTried
from cloister.app.battery.cores import CORES
from cloister.app.battery.kernel import KERNEL
from cloister.app.battery.memory import MEMORY
from cloister.app.battery.paging import PAGING
from cloister.app.battery.planting import PLANTING
from cloister.app.battery.procfs import PROCFS
from cloister.app.battery.registers import REGISTERS
from cloister.app.battery.shielded_console import SHIELDED_CONSOLE
from cloister.app.battery.shielded_files import SHIELDED_FILES
from cloister.app.battery.shielded_network import SHIELDED_NETWORK
from cloister.app.battery.shielded_pipes import SHIELDED_PIPES
from cloister.app.battery.sideways import SIDEWAYS
from cloister.app.battery.starting import STARTING
from cloister.app.battery.stress import STRESS
from cloister.app.battery.target import Arena, Setting
from cloister.app.battery.tracing import TRACING
from cloister.app.battery.users import USERS
from cloister.app.battery.verdict import Finding, judge
from cloister.errors import CloisterError, UsageError
from cloister.launch.command import enclave_command

__all__ = ["ATTACKS", "attacks_named", "run_battery"]

FAMILIES = (
    MEMORY, TRACING, PROCFS, SIDEWAYS, PAGING, CORES, STARTING, PLANTING, STRESS, REGISTERS, USERS,
    SHIELDED_FILES, SHIELDED_NETWORK, SHIELDED_CONSOLE, SHIELDED_PIPES, KERNEL,
)  # fmt: skip
ATTACKS: Final = {attack.name: attack for family in FAMILIES for attack in family}
"""Every attack by its name, family by family."""


def attacks_named(names: Sequence[str]) -> tuple[Attack, ...]:
    """These attacks, or all; `file-*` are all whose names begin so. UsageError for a name that is none."""
    found: dict[str, Attack] = {}
    for name in names:
        matching = fnmatch.filter(ATTACKS, name)
        if not matching:
            raise UsageError(f"no attack is called {name!r}; `cloister attack --list` names them")
        found.update({one: ATTACKS[one] for one in matching})
    return tuple(found.values()) or tuple(ATTACKS.values())


def run_battery(
    setting: Setting, attacks: Sequence[Attack], progress: Callable[[str], None] = lambda _: None
) -> tuple[Finding, ...]:
    """Run them. Everything that is started is ended; files lie in one temporary directory, which is removed.

    UsageError or LaunchError when it is known beforehand that nothing can be started.
    """
    enclave_command((setting.words or ("/bin/sh",))[0], [])
    findings = []
    with tempfile.TemporaryDirectory(prefix="cloister-attack-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        arenas = [Arena(setting=setting, enclaved=enclaved, directory=directory) for enclaved in (False, True)]
        for number, attack in enumerate(attacks, 1):
            progress(f"{number}/{len(attacks)} {attack.name}")
            findings.append(tried(attack, *arenas))
    return tuple(findings)


def tried(attack: Attack, native: Arena, enclaved: Arena) -> Finding:
    """Both arms; the second even where the first found nothing, for a leak counts all the same."""
    first = attempt(attack.control or attack.run, native)
    second = None if first.worked is None and not first.broken else attempt(attack.run, enclaved)
    return judge(attack, first, second)


def attempt(run: Callable[[Arena], Attempt], arena: Arena) -> Attempt:
    """One arm. What goes wrong in the attack itself is broken: neither a success nor a failure of the attacker."""
    try:
        return run(arena)
    except NotTried as reason:
        return Attempt(worked=None, detail=str(reason))
    except (CloisterError, OSError, ValueError, subprocess.SubprocessError) as error:
        return Attempt(worked=None, detail=f"the attack broke: {type(error).__name__}: {error}", broken=True)
