"""Every attack on every machine, each cell from a run just made, beside what is published of real hardware."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cloister.emulate.attacks.battery import ATTACKS, attack, attack_named
from cloister.emulate.attacks.literature import LITERATURE, Expected
from cloister.emulate.attacks.outcome import Finding
from cloister.emulate.catalogue import KINDS, NATIVE, kind_of, native_kind
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError

__all__ = ["Cell", "Matrix", "run_matrix"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one machine: what happened, or why it could not be tried, and what real hardware does."""

    attack: str
    machine: str
    finding: Finding | None
    obstacle: str
    expected: Expected

    @property
    def agrees(self) -> bool:
        """Whether the emulated machine did what real hardware does. What could not be tried does not agree."""
        return self.finding is not None and self.finding.outcome is self.expected.outcome


@dataclass(frozen=True, slots=True)
class Matrix:
    """The cells of all attacks on all machines, by (attack, machine)."""

    machines: tuple[str, ...]
    attacks: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    @property
    def disagreements(self) -> list[Cell]:
        """Cells that differ from what is published, or could not be tried."""
        return [cell for cell in self.cells.values() if not cell.agrees]


def run_matrix(
    keystore: Keystore,
    *,
    machines: Iterable[str] = (NATIVE.name, *KINDS),
    attacks: Iterable[str] = tuple(ATTACKS),
    progress: Callable[[str], None],
) -> Matrix:
    """Run the cells. `progress` is told of each before it is tried."""
    names, tries = tuple(machines), tuple(attacks)
    cells = {}
    for name in names:
        for one in tries:
            progress(f"{name}: {one}")
            cells[one, name] = _cell(one, name, keystore)
    return Matrix(names, tries, cells)


def _cell(attack_name: str, machine: str, keystore: Keystore) -> Cell:
    expected = LITERATURE[attack_name][machine]
    kind = native_kind(NATIVE.architecture) if machine == NATIVE.name else kind_of(machine)
    try:
        return Cell(attack_name, machine, attack(kind, attack_named(attack_name), keystore), "", expected)
    except UsageError as obstacle:
        return Cell(attack_name, machine, None, str(obstacle), expected)
