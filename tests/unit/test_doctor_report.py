"""The report: what a person sees, what a program gets, and what the verdict rests on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cloister import doctor
from cloister.cli import main
from cloister.doctor import Command, Declared, Diagnosis, NoFix, Observed, Status
from cloister.doctor.examine import readers


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return doctor.examine(tmp_path_factory.mktemp("no") / "runtime")


def with_status(diagnosis: Diagnosis, name: str, status: Status) -> Diagnosis:
    """The same machine with one check answered otherwise."""
    checks = tuple(replace(c, status=status) if c.name == name else c for c in diagnosis.checks)
    obstacles = tuple(check for check in checks if check.needed and check.status is not Status.OK)
    return Diagnosis(checks=checks, obstacles=obstacles, readers=readers(checks))


def test_names_are_unique(here: Diagnosis) -> None:
    names = [check.name for check in here.checks]
    assert sorted(set(names)) == sorted(names)


def test_a_missing_runtime_is_an_obstacle(here: Diagnosis) -> None:
    assert "runtime" in [check.name for check in here.obstacles]
    assert not here.works


def test_unknown_is_not_ok(here: Diagnosis) -> None:
    changed = with_status(here, "seccomp", Status.UNKNOWN)
    assert "seccomp" in [check.name for check in changed.obstacles]


def test_what_is_not_needed_is_no_obstacle(here: Diagnosis) -> None:
    changed = with_status(here, "sgx", Status.MISSING)
    assert "sgx" not in [check.name for check in changed.obstacles]


def test_the_json_is_complete_and_consistent(here: Diagnosis) -> None:
    document = json.loads(json.dumps(doctor.as_json(here)))
    assert len(document["checks"]) == len(here.checks)
    for check in document["checks"]:
        assert (check["fix"] is None) == (check["no_fix_because"] is not None)
    for row in document["who_can_still_read"]:
        assert (row["observed_here"] is None) == (row["not_observed_because"] is not None)


def test_a_row_is_observed_only_where_it_was_measured(here: Diagnosis) -> None:
    unmeasured = with_status(here, "memfd_secret", Status.MISSING)
    assert all(isinstance(reader.basis, Declared) for reader in unmeasured.readers)
    measured = with_status(here, "memfd_secret", Status.OK)
    assert [isinstance(reader.basis, Observed) for reader in measured.readers].count(True) == 1


def test_each_obstacle_comes_with_its_fix(here: Diagnosis) -> None:
    shown = doctor.render(here, colour=False, verbose=False)
    verdict = shown[shown.index("software enclave: cannot run") :]
    for check in here.obstacles:
        assert check.title in verdict
        assert check.fix.text in verdict if isinstance(check.fix, Command) else "no command fixes it" in verdict


def test_verbose_explains_everything(here: Diagnosis) -> None:
    shown = " ".join(doctor.render(here, colour=False, verbose=True).split())
    assert all(" ".join(check.matters.split()) in shown for check in here.checks)


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_lines_fit_the_terminal(here: Diagnosis, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are never broken, so that they can be copied; everything else wraps."""
    monkeypatch.setenv("COLUMNS", columns)
    lines = doctor.render(here, colour=False, verbose=False).splitlines()
    room = max(int(columns), 96)
    assert not [line for line in lines if len(line) > room and "fix: " not in line and "/" not in line]


def test_colour_changes_nothing_but_colour(here: Diagnosis) -> None:
    plain = doctor.render(here, colour=False, verbose=True)
    coloured = doctor.render(here, colour=True, verbose=True)
    assert coloured != plain
    without = re.sub(r"\033\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == [line.rstrip() for line in plain.splitlines()]


def test_the_exit_code_is_the_verdict(
    here: Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cloister.doctor.examine", lambda: here)
    assert main(["doctor", "--json"]) == 120
    assert json.loads(capsys.readouterr().out)["software_enclave"]["works"] is False
    monkeypatch.setattr("cloister.doctor.examine", lambda: Diagnosis(checks=here.checks, obstacles=(), readers=()))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "software enclave: works here" in printed.err


def test_fixes_are_one_line(here: Diagnosis) -> None:
    for check in here.checks:
        words = check.fix.reason if isinstance(check.fix, NoFix) else check.fix.text
        assert words
        assert "\n" not in words


def test_a_path_that_is_no_runtime_is_reported_by_its_name(tmp_path: Path) -> None:
    found = doctor.examine(tmp_path / "nothing-here").obstacles
    assert any("nothing-here" in check.evidence for check in found)
