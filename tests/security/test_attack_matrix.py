"""Every attack on every machine, from a run just made: it must end as it is published of real hardware."""

import pytest

from cloister.emulate.attacks.battery import ATTACKS
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.matrix import run_matrix
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.catalogue import KINDS, NATIVE
from cloister.emulate.vendors.keystore import Keystore

MACHINES = (NATIVE.name, *KINDS)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "emulated")


def test_every_attack_has_an_expectation_for_every_machine_with_its_source() -> None:
    assert set(LITERATURE) == set(ATTACKS)
    for attack, row in LITERATURE.items():
        assert set(row) == set(MACHINES), attack
        assert all(expected.source for expected in row.values()), attack


def test_no_machine_stops_everything_and_none_but_the_bare_one_stops_nothing() -> None:
    """A table of one colour would be a table that nobody checked."""
    for machine in MACHINES:
        outcomes = {LITERATURE[attack][machine].outcome for attack in ATTACKS}
        assert (outcomes == {Outcome.SUCCEEDED}) == (machine == NATIVE.name), machine
        assert machine == "sgx" or Outcome.SUCCEEDED in outcomes, machine


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_machine_does_what_real_hardware_does(machine: str, attack: str, keystore: Keystore) -> None:
    matrix = run_matrix(keystore, machines=[machine], attacks=[attack], progress=lambda _: None)
    (cell,) = matrix.cells.values()
    if cell.obstacle.startswith("no compiler"):
        pytest.skip(f"{cell.obstacle} (scripts/install-test-programs)")
    assert cell.agrees, cell


@pytest.mark.parametrize("machine", ["sgx", "sev", "sev-snp", "tdx", "cca"])
def test_the_control_of_the_reading_attacks_is_the_machine_without_a_tee(machine: str, keystore: Keystore) -> None:
    """What stops a reader is the TEE: the same attack on the same program succeeds without one."""
    matrix = run_matrix(
        keystore, machines=[NATIVE.name, machine], attacks=["host-read", "cold-boot"], progress=lambda _: None
    )
    for attack in matrix.attacks:
        bare, shut = matrix.cells[attack, NATIVE.name].finding, matrix.cells[attack, machine].finding
        assert bare is not None
        assert shut is not None
        assert (bare.outcome, shut.outcome) == (Outcome.SUCCEEDED, Outcome.STOPPED)
