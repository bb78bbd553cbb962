"""A session at a terminal, natively and enclaved side by side: after every step both screens must show the same.

CLOISTER_LONG_MINUTES says how long the long session is: 3 unless set, 60 for an hour of it.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, Arm, cloister_run
from tests.system.keyboard import AT_THE_KEYBOARD, PROMPT, SHELL, Step, order, steps
from tests.system.terminal import Terminal

MINUTES = float(os.environ.get("CLOISTER_LONG_MINUTES", "3"))
PROGRAMS = ("bash", "busybox", "cc", "ed", "git", "make", "openssl", "perl", "/usr/bin/python3", "sqlite3")
pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program(*PROGRAMS), pytest.mark.slow]

ENVIRONMENT = {
    **CLOISTER_ENVIRONMENT,
    "PS1": PROMPT.decode(),
    "TERM": "dumb",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_PAGER": "cat",
}


@contextlib.contextmanager
def at_a_terminal(arm: Arm, directory: Path) -> Iterator[Terminal]:
    (directory / arm).mkdir()
    with Terminal(cloister_run(arm, SHELL), env=ENVIRONMENT) as terminal:
        terminal.expect(PROMPT)
        order(terminal, f"cd {directory / arm} && set +H && unset HISTFILE && stty -ixon cols 1000")
        yield terminal


def compare(session: Iterator[Step], directory: Path) -> int:
    """Do the steps in both arms, one after the other; returns how many there were."""
    done = 0
    with at_a_terminal("native", directory) as native, at_a_terminal("enclaved", directory) as enclaved:
        for step in session:
            seen, inside = (masked(step.do(terminal), directory) for terminal in (native, enclaved))
            assert inside == seen, f"step {done}, {step.name}"
            done += 1
        for terminal in (native, enclaved):
            terminal.type(b"exit 9\n")
            assert terminal.wait() == 9
    return done


def masked(seen: bytes, directory: Path) -> bytes:
    """Without the one thing that must differ: where each arm works."""
    return re.sub(re.escape(os.fsencode(directory)) + rb"/(native|enclaved)", b"HERE", seen)


def until(end: float, session: Iterator[Step]) -> Iterator[Step]:
    return itertools.takewhile(lambda _: time.monotonic() < end, session)


def test_every_thing_that_hands_do(tmp_path: Path) -> None:
    assert compare(iter(AT_THE_KEYBOARD), tmp_path) == len(AT_THE_KEYBOARD)


@pytest.mark.long
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_a_long_session(tmp_path: Path) -> None:
    done = compare(until(time.monotonic() + MINUTES * 60, steps()), tmp_path)
    assert done > 10 * MINUTES, "it hardly got anywhere"


def test_what_is_compared_would_show_a_difference() -> None:
    assert masked(b"/x/native/a", Path("/x")) == masked(b"/x/enclaved/a", Path("/x")) != masked(b"/x/b", Path("/x"))
    assert ARMS == ("native", "enclaved")
