"""What an observer of the host sees while a key goes into a TPM and out: arguments, environment, files, the bus."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.tpm import Tpm, tpm

from cloister.serve.keys import tpm_tools
from cloister.serve.keys.tpm import TpmKey

pytestmark = pytest.mark.needs_program("swtpm", "tpm2_createprimary", "tpm2_unseal", "strace")

KEY, CONTEXT = b"planted-key-of-a-database-32-byt", b"database key 01"
PROGRAMS = (
    "tpm2_createprimary", "tpm2_create", "tpm2_load", "tpm2_unseal", "tpm2_startauthsession", "tpm2_sessionconfig",
    "tpm2_flushcontext", "tpm2_readpublic",
)  # fmt: skip


@pytest.fixture
def chip() -> Iterator[Tpm]:
    with tpm() as made:
        yield made


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every program runs under strace, which writes each file opened for writing, each argument and variable."""
    programs, traces = tmp_path / "programs", tmp_path / "traces"
    programs.mkdir()
    traces.mkdir()
    for name in PROGRAMS:
        script = programs / name
        script.write_text(
            f"#!/bin/sh\nexec {shutil.which('strace')} -f -v -s 4096 -o {traces}/{name}.$$"
            f' -e trace=execve,open,openat,creat,rename,link {shutil.which(name)} "$@"\n'
        )
        script.chmod(0o755)
    monkeypatch.setitem(tpm_tools.ENVIRONMENT, "PATH", f"{programs}:/usr/bin:/bin")
    return traces


def test_no_key_reaches_arguments_variables_or_files(chip: Tpm, traced: Path) -> None:
    kek = TpmKey(chip.tcti)
    assert kek.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT) == KEY
    traces = {file.name: file.read_text() for file in traced.iterdir()}
    assert {name.partition(".")[0] for name in traces} >= {"tpm2_create", "tpm2_unseal"}
    for name, trace in traces.items():
        assert "execve(" in trace, name
        for form in (KEY.decode(), KEY.hex(), KEY.hex(" ")):
            assert form not in trace, name
        written = [line for line in trace.splitlines() if ("O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line)]
        assert all("/proc/self/fd/" in line or "/dev/null" in line for line in written), written


def test_no_key_is_on_the_bus(chip: Tpm) -> None:
    kek = TpmKey(chip.tcti)
    assert kek.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT) == KEY
    heard = b"".join(chip.heard)
    assert len(heard) > 1000
    assert KEY not in heard


def test_the_listener_would_hear_it(chip: Tpm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the same without encryption on the bus."""
    run = tpm_tools.TpmTools.run

    def without(tools: tpm_tools.TpmTools, program: str, *arguments: str, data: bytes = b"") -> bytes:
        if program == "tpm2_sessionconfig":
            arguments = ("--disable-encrypt", "--disable-decrypt", arguments[-1])
        return run(tools, program, *arguments, data=data)

    monkeypatch.setattr(tpm_tools.TpmTools, "run", without)
    kek = TpmKey(chip.tcti)
    assert kek.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT) == KEY
    assert b"".join(chip.heard).count(KEY) >= 2  # on its way in and out


def test_the_memory_files_have_no_name_and_end(chip: Tpm) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with tpm_tools.TpmTools(chip.tcti) as tools:
        path = Path(tools.file("session", b"secret"))
        assert os.readlink(path).startswith("/memfd:session (deleted)")
        assert stat.S_ISREG(path.stat().st_mode)
        assert path.stat().st_nlink == 0
    assert set(os.listdir("/proc/self/fd")) == before
