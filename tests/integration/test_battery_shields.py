"""Attacks on shields: all are stopped, each works natively, and each is seen to work where a shield is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.test_battery import attack, only

from cloister.app.battery import (
    keeping,
    serving,
    shielded_console,
    shielded_files,
    shielded_network,
    shielded_pipes,
    talking,
)
from cloister.app.battery.attack import Attack, NotTried
from cloister.app.battery.battery import attempt
from cloister.app.battery.target import Arena, Setting, Start

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

ATTACKS = {
    one.name: one
    for one in (
        *shielded_files.SHIELDED_FILES, *shielded_network.SHIELDED_NETWORK, *shielded_console.SHIELDED_CONSOLE,
        *shielded_pipes.SHIELDED_PIPES,
    )
}  # fmt: skip
OF_THE_MACHINE = {"file-disk", "file-trace", "net-trace", "net-packets", "console-trace"}
"""Need a disk, tracefs or packet sockets. The calls of an enclave without shields are not seen either."""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_all_are_stopped() -> None:
    status, outcomes, printed = attack(*only("file-*", "net-*", "console-*", "pipe-*"), seconds=180)
    assert set(outcomes) == set(ATTACKS)
    assert outcomes.pop("file-back-unknown") == "leaked (declared)", printed
    assert {name for name, outcome in outcomes.items() if outcome == "not tried"} <= OF_THE_MACHINE
    assert {outcome for outcome in outcomes.values() if outcome != "not tried"} == {"stopped"}, printed
    assert status == 0


@pytest.fixture
def unshielded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An enclave whose shields are forgotten."""
    monkeypatch.setattr(keeping.Keeper, "start", lambda _self, _root=None: Start())
    monkeypatch.setattr(keeping.Keeper, "stored", property(lambda self: self.path))
    monkeypatch.setattr(keeping.Keeper, "root", lambda _self: None)
    shielded: Callable[[Arena], object] = serving.shielded
    monkeypatch.setattr(
        serving, "shielded", lambda arena: shielded(Arena(setting=arena.setting, enclaved=False, directory=Path()))
    )
    monkeypatch.setattr(talking, "console_key", lambda _arena: b"")
    monkeypatch.setattr(shielded_pipes, "strict", Start)


@pytest.mark.usefixtures("unshielded")
@pytest.mark.parametrize(
    "one", [one for name, one in ATTACKS.items() if name not in OF_THE_MACHINE], ids=lambda one: one.name
)
def test_a_missing_shield_is_seen_to_leak(tmp_path: Path, one: Attack) -> None:
    made = attempt(one.run, Arena(setting=Setting(), enclaved=True, directory=tmp_path))
    assert made.worked, made.detail


def test_without_guards_there_is_no_shield_to_attack(tmp_path: Path) -> None:
    arena = Arena(setting=Setting(unsafe_no_guard=True), enclaved=True, directory=tmp_path)
    with pytest.raises(NotTried, match="shields stand on the guard"):
        shielded_console.overheard(arena)
