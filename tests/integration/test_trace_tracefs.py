"""Who may not use the kernel's tracer is told why: never an exception of the operating system's."""

import os
from pathlib import Path

import pytest

from cloister.observe.trace import tracefs

pytestmark = pytest.mark.needs_root

NOBODY = 65534


def said_to_nobody() -> str:
    """What `why_unavailable` says in a child that is an ordinary user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "it raised"
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = tracefs.why_unavailable()
        finally:
            os.write(writer, answer.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def test_a_directory_that_nobody_may_enter_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a PermissionError: tracefs is closed to ordinary users, and they met it as a bug of `cloister trace`."""
    (tmp_path / "instances").mkdir()
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tracefs, "MOUNTED", (str(tmp_path),))
    assert "cannot be opened" in said_to_nobody()
