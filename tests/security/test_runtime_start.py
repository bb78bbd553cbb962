"""The first milliseconds, before the guards hold: what an attacker leaves behind then is noticed."""

from pathlib import Path

import pytest

from cloister.app.battery.planting import plant
from cloister.app.battery.target import Arena, Setting

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]


def arena(place: Path, *, enclaved: bool) -> Arena:
    place.chmod(0o711)
    return Arena(setting=Setting(), enclaved=enclaved, directory=place)


def test_a_process_that_a_debugger_left_in_the_memory_stops_the_start(tmp_path: Path) -> None:
    """It seizes the runtime, has it clone(2) with CLONE_VM, and goes away before the guards come."""
    outcome = plant(arena(tmp_path, enclaved=True))
    assert not outcome.worked, outcome.detail
    assert "planted 0 times" not in outcome.detail, "it never came before the guards, so nothing was tried"


def test_control_natively_it_writes_the_secret_out(tmp_path: Path) -> None:
    assert plant(arena(tmp_path, enclaved=False)).worked
