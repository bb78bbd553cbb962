"""A PostgreSQL server of the test's own: in a temporary directory, on a unix socket, as an unprivileged user."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

__all__ = ["Postgres", "postgres"]

SECONDS = 30
ACCOUNT = "postgres"
DATABASE = "cloister"


@dataclass
class Postgres:
    """A server that can be stopped and started."""

    directory: Path
    programs: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{owner()}@/{DATABASE}?host={self.directory}"

    def start(self) -> None:
        words: list[str | Path] = [
            self.programs / "postgres",
            "-D",
            self.directory / "data",
            "-k",
            self.directory,
            "-c",
            "listen_addresses=",
        ]
        log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen([*as_account(), *words], stdout=log, stderr=log, cwd=self.directory)
        log.close()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url.replace(f"/{DATABASE}?", "/postgres?")).close()
                return
            time.sleep(0.05)
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        """At once, as administrators do who do not wait for sessions."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(SECONDS)
            self.process = None


def account() -> str | None:
    """PostgreSQL refuses to run as root."""
    return ACCOUNT if os.geteuid() == 0 else None


def as_account() -> list[str]:
    """What stands before a command so that the account runs it.

    Where others may not even search the root directory (some build machines), reading and searching is left to it.
    """
    if account() is None:
        return []
    words = ["setpriv", "--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"]
    if Path("/").stat().st_mode & 0o001:
        return [*words, "--inh-caps=-all"]
    allowed = "+dac_read_search"
    return [*words, "--inh-caps", allowed, "--ambient-caps", allowed, "--securebits", "+no_setuid_fixup"]


def owner() -> str:
    return account() or pwd.getpwuid(os.geteuid()).pw_name


def programs() -> Path:
    """Where initdb is: Debian keeps it out of PATH."""
    for found in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin")):
        if (found / "initdb").exists():
            return found
    pytest.skip("not installed: initdb (scripts/install-test-programs)")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server with an empty database."""
    directory = Path(tempfile.mkdtemp(prefix="cloister-postgres-"))
    if account():
        shutil.chown(directory, ACCOUNT)
    made = Postgres(directory, programs())
    try:
        words: list[str | Path] = [
            made.programs / "initdb",
            "-D",
            directory / "data",
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*as_account(), *words], check=True, capture_output=True, cwd=directory)
        made.start()
        with psycopg.connect(made.url.replace(f"/{DATABASE}?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory)
