"""`cloister lab` as a person runs it: the real compiler, the real runtime, the real report."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "src"
GUARD_PAIR = 2

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("cc")]


def run_lab(
    directory: Path, *words: str, path: str = "/usr/local/bin:/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloister", "lab", *words],
        cwd=directory,
        env={"PYTHONPATH": str(SOURCES), "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    directory = tmp_path_factory.mktemp("lab")
    return run_lab(directory, "--json"), directory / "lab-report.html"


def record_of(lab: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(lab[0].stdout)
    return record


@pytest.mark.needs_runtime
def test_the_lab_shows_what_it_should(lab: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, report = lab
    assert done.returncode == 0, done.stderr
    assert "PROTECTED (mode: software enclave)" in done.stderr
    assert str(report) in done.stderr
    assert "Can the administrator read it?" in report.read_text()


@pytest.mark.needs_runtime
def test_found_natively_not_found_enclaved_hash_right_both_times(
    lab: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    record = record_of(lab)
    assert record["verdict"] == "protected"
    assert [record[arm]["hash_shown"] for arm in ("native", "enclaved")] == ["2084933351", "2084933351"]
    assert len(record["native"]["hits"]) == 2
    assert record["enclaved"]["hits"] == []
    assert record["enclaved"]["unreadable_bytes"] > 1 << 16


@pytest.mark.needs_runtime
def test_no_tool_of_root_gets_through_to_the_enclave(lab: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    outcomes = {attempt["tool"]: attempt["outcome"] for attempt in record_of(lab)["enclaved"]["attempts"]}
    assert outcomes["ptrace(PTRACE_SEIZE)"] == "refused"
    assert outcomes["the exercise's dump script"] == "nothing found"
    assert not {"read", "attached"} & set(outcomes.values())


@pytest.mark.needs_runtime
def test_the_guards_were_there_and_traced_the_program(lab: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    members = record_of(lab)["enclaved"]["members"]
    guards = {member["pid"] for member in members if member["role"] == "guard"}
    assert len(guards) == GUARD_PAIR
    assert {member["tracer"] for member in members if member["role"] == "program"} <= guards


@pytest.mark.needs_runtime
def test_the_enclaves_read_is_traced_as_a_pointer(lab: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    record = record_of(lab)
    if record["enclaved"]["trace"]["absent"]:
        pytest.skip(record["enclaved"]["trace"]["absent"])
    texts = [call["text"] for call in record["enclaved"]["trace"]["calls"]]
    (taking,) = [text for text in texts if text.startswith("read(0") and text.endswith("= 7")]
    assert "0x" in taking
    assert not any("FUNFOO" in text for text in texts)
    assert any(call["secret"] for call in record["native"]["trace"]["calls"])


@pytest.mark.needs_runtime
def test_with_a_shielded_console_no_process_of_the_host_shows_it(tmp_path: Path) -> None:
    """Natively a read(2) that shows FUNFOO; enclaved nothing of the kind, in any call of program and relay."""
    done = run_lab(tmp_path, "--console", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    native, enclaved = record["native"]["trace"], record["enclaved"]["trace"]
    if enclaved["absent"] and native["absent"]:
        pytest.skip(enclaved["absent"])
    assert enclaved["absent"] == ""
    assert enclaved["command"] == "cloister trace -- cloister run --console ./console ./app"
    assert any(re.match(r'read\(0<[^>]*>, "FUNFOO\\n"', call["text"]) for call in native["calls"])
    assert not [call["text"] for call in enclaved["calls"] if call["secret"] or "FUNFOO" in call["text"]]
    texts = [call["text"] for call in enclaved["calls"]]
    assert any(re.match(r"read\(0<[^>]*>, 0x", text) for text in texts), "the program was traced while it read"
    assert any(re.match(r'write\(\d+<[^>]*ptmx[^>]*>, "', text) for text in texts), "so was the relay that fed it"


def test_without_a_compiler_it_is_inconclusive_and_says_what_to_install(tmp_path: Path) -> None:
    done = run_lab(tmp_path, path=str(tmp_path))
    assert done.returncode == 16
    assert "apt install gcc" in done.stderr
    assert "apt install gcc" in (tmp_path / "lab-report.html").read_text()


def test_a_report_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    done = run_lab(tmp_path, "--report", str(tmp_path / "missing" / "lab.html"))
    assert done.returncode == 2
    assert "name another file with --report" in done.stderr


def test_interactive_has_no_json(tmp_path: Path) -> None:
    done = run_lab(tmp_path, "--interactive", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
