"""`cloister serve` as a process of its own, on a free port of the loopback."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Running", "serving"]

SECONDS = 40
TOKEN = re.compile(r"^ {4}(?P<token>[A-Za-z0-9_-]{43})$", re.MULTILINE)
URL = re.compile(r"listening on (?P<url>https?://\S+)")


@dataclass
class Running:
    """A server that listens. `token` is empty if it was not the first start."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    errors: Path
    state: Path

    def kill(self) -> None:
        """As the power does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        return self.errors.read_text()


@contextmanager
def serving(directory: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Start it with its state in this directory; stop it by SIGTERM at the end, if it still runs."""
    errors = directory / f"stderr-{time.monotonic_ns()}"
    words = command(directory, options)
    with errors.open("wb") as stream:
        process = subprocess.Popen(words, stderr=stream, env=os.environ | (environment or {}))
    try:
        yield await_listening(process, errors, directory / "state")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def command(directory: Path, options: Sequence[str]) -> list[str]:
    state = ["--state", str(directory / "state"), "--listen", "127.0.0.1:0"]
    return [sys.executable, "-m", "cloister", "serve", *state, *options]


def await_listening(process: subprocess.Popen[bytes], errors: Path, state: Path) -> Running:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        said = errors.read_text()
        found = URL.search(said)
        if found and (said.endswith("\n")):
            token = TOKEN.search(said)
            return Running(process, found["url"], token["token"] if token else "", errors, state)
        assert process.poll() is None, said
        select.select([], [], [], 0.02)
    raise AssertionError(f"does not listen after {SECONDS} s: {errors.read_text()}")
