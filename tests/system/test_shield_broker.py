"""A program whose shield comes from a broker, all of it real: keys from the session, and the volume's newest root kept.

The host stores the volume, carries every message, and starts the program as often as it likes.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import build
from tests.system.attested import Host, Program, attested_host, measured

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PATIENCE = 60
NAME = "team/notes"
PLANTED = "planted-in-the-volume"
SESSION = """\
name: {name}
version: "1"
{predecessor}services:
  - name: app
    attestation: [{{ tee: software, measurement: "{measurement}", anchors: [software] }}]
    injection_files: [{{ path: /run/motto, content: "kept inside" }}]
    shield:
      files:
        - {{ path: /data, kind: encrypted, volume: "{volume}", key: disk, root: broker, create: true, cache: 2 MiB }}
secrets:
  - {{ name: disk, kind: aes-key, generate: {{}} }}
"""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """The program and its volume."""

    host: Host
    program: Program
    volume: Path

    def session(self, name: str, predecessor: str = "") -> str:
        before = f'predecessor: "{predecessor}"\n' if predecessor else ""
        return SESSION.format(
            name=name, measurement=self.program.measurement, volume=self.volume, predecessor=before
        )  # fmt: skip

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.host.command(NAME, "app", self.program), env=self.host.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *lines: str) -> "subprocess.CompletedProcess[str]":
        process = self.start()
        out, err = process.communicate("".join(f"{line}\n" for line in lines), timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kinds(self) -> list[str]:
        kinds = [str(entry["event"]["kind"]) for entry in self.host.log()]  # type: ignore[index]
        return [one for one in kinds if one.startswith("root-")]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    program = build(tmp_path, "notes", "static")
    with attested_host(tmp_path) as host:
        made = Notes(host=host, program=measured(program, tmp_path), volume=tmp_path / "notes.volume")
        host.put(NAME, made.session(NAME))
        yield made


def tell(process: "subprocess.Popen[str]", line: str) -> str:
    """Say something to a program that runs, and hear one line."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=PATIENCE)


def test_what_lasts_is_there_at_the_next_start_and_ciphertext_on_the_disk(notes: Notes) -> None:
    done = notes.run(f"+{PLANTED}", "?")
    assert (done.returncode, done.stdout) == (0, f"sync: done\nhas:{PLANTED}\n"), done.stderr
    assert PLANTED.encode() not in notes.volume.read_bytes()
    assert notes.kinds() == ["root-taken"]
    again = notes.run("?", "+more")
    assert again.stdout == f"has:{PLANTED}\nsync: done\n", again.stderr
    assert notes.kinds() == ["root-taken", "root-taken"]


def test_what_the_session_injected_needs_no_region(notes: Notes) -> None:
    done = notes.run("</run/motto", "</etc/hostname")
    assert done.stdout == "read:kept inside\nread:Permission denied\n", done.stderr


def test_what_was_written_before_the_end_is_reported_too(notes: Notes) -> None:
    """Nothing was made to last by the program, which ended in order."""
    assert notes.run("-kept").returncode == 0
    assert notes.kinds() == ["root-taken"]
    assert notes.run("?").stdout == "has:kept\n"


@pytest.mark.parametrize("attack", ["older", "emptied", "removed"])
def test_an_older_volume_in_place_of_the_newest_is_refused(notes: Notes, attack: str) -> None:
    notes.run("+first")
    shutil.copy(notes.volume, notes.volume.with_suffix(".old"))
    notes.run("+second")
    shutil.copy(notes.volume, notes.volume.with_suffix(".new"))
    if attack == "older":
        shutil.copy(notes.volume.with_suffix(".old"), notes.volume)
    elif attack == "emptied":
        notes.volume.write_bytes(b"")
    else:
        notes.volume.unlink()
    refused = notes.run("?")
    assert refused.returncode != 0
    assert "has:" not in refused.stdout
    shutil.copy(notes.volume.with_suffix(".new"), notes.volume)
    assert notes.run("?").stdout == "has:first\nsecond\n", "the control: the newest opens"


def test_a_start_that_was_overtaken_is_told_that_nothing_lasts(notes: Notes) -> None:
    """Two starts from one state, on two copies: the volume is the later one's, and the other learns it by its fsync."""
    notes.run("+first")
    one = notes.start()
    assert tell(one, "?") == "has:first"
    aside = notes.volume.with_suffix(".one")
    notes.volume.rename(aside)  # its descriptor goes with it
    shutil.copy(aside, notes.volume)
    other = notes.start()
    assert tell(other, "?") == "has:first"
    assert tell(other, "+other") == "sync: done"
    assert [tell(one, "+ran ahead") for _ in range(5)] == ["sync: Input/output error"] * 5
    end(other)
    end(one)
    assert "root-refused" in notes.kinds()
    notes.volume.rename(notes.volume.with_suffix(".other"))
    aside.rename(notes.volume)
    refused = notes.run("?")
    assert "has:" not in refused.stdout, "a later generation, but of another history"
    notes.volume.with_suffix(".other").rename(notes.volume)
    assert notes.run("?").stdout == "has:first\nother\n"


def test_who_is_not_acknowledged_is_told_so(notes: Notes) -> None:
    """The session ends while the program runs: what it writes from then on may not outlive it, and it learns that."""
    process = notes.start()
    assert tell(process, "+first") == "sync: done"
    with notes.host.client as client:
        assert client.delete(f"/admin/v1/sessions/{NAME}").status_code == 200
    assert tell(process, "+second") == "sync: Input/output error"
    end(process)
