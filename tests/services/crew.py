"""`cloister serve --workers N` with an attester that it believes: forked, real time, plain HTTP, a log to read."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.services.key_broker import COOKIE, Attester, cookie_of, rule_for, software_attester

from cloister.broker.secrets_rule import parse_rule
from cloister.endorse.anchors import AnchorKind
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.metrics import shared_rows
from cloister.serve.server import Listening, bind
from cloister.serve.service import Service, Settings, now
from cloister.serve.supervisor import supervise
from cloister.serve.worker import worker_of
from cloister.verifier.policy_files import load_policy

__all__ = ["NAME", "Crew", "Visitor", "alive", "crew", "wait_for"]

NAME = "app/keys/db"
SECONDS = 60.0


def alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(what: Any, seconds: float = SECONDS) -> None:
    """Return when it is true; AssertionError if it never is."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


@dataclass
class Crew:
    """The workers and their parent, a child of this process."""

    pid: int
    address: tuple[str, int]
    directory: Path
    attester: Attester
    token: str
    opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    ended: bool = False

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def told(self, event: str) -> list[dict[str, Any]]:
        """Events of that name, from the log."""
        lines = (self.directory / "log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if one["event"] == event]

    def workers(self) -> dict[int, int]:
        """Process identifiers by number, of those that were not told to have ended."""
        gone = {one["process"] for one in self.told("worker-ended")}
        return {one["worker"]: one["process"] for one in self.told("worker-started") if one["process"] not in gone}

    def await_workers(self, count: int) -> dict[int, int]:
        wait_for(lambda: len(self.workers()) == count)
        return self.workers()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code of the parent."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        self.ended = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def crew(directory: Path, workers: int) -> Iterator[Crew]:
    """So many workers; whatever of them is left at the end is killed."""
    one = software_attester()
    (directory / "policy.toml").write_text(one.policy)
    policy, references = load_policy(directory / "policy.toml", now())

    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=one.verifier, key=key, clock=now, policy=policy, references=references,
            accept_anchors=frozenset(AnchorKind),
        )  # fmt: skip

    settings = Settings(state=directory / "state", appraiser=make, secure_cookie=False, rows=shared_rows(workers))
    with contextlib.closing(Service(settings, Journal())) as first:
        first.vault.put(NAME, b"a secret", parse_rule(rule_for(one)))
        token = first.shared.new_token
    with bind("127.0.0.1", 0) as listener:
        pid = in_a_child(directory, settings, listener, workers)
        made = Crew(pid, listener.getsockname()[:2], directory, one, token)
    try:
        wait_for((directory / "log").exists)
        made.await_workers(workers)
        yield made
    finally:
        made.opened.close()
        if not made.ended:
            made.stop()
        for pid in filter(alive, (event["process"] for event in made.told("worker-started"))):
            os.kill(pid, signal.SIGKILL)


def in_a_child(directory: Path, settings: Settings, listener: socket.socket, workers: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)  # a test runner has put something else there
        supervise(workers, worker_of(settings, Listening(), listener), Journal().write)
        code = 0
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


class Visitor:
    """A program that wants the secret, on connections of its own."""

    def __init__(self, made: Crew) -> None:
        self.crew = made
        self.client = httpx.Client(base_url=f"http://{made.address[0]}:{made.address[1]}", timeout=SECONDS)
        made.opened.callback(self.client.close)

    def challenge(self) -> tuple[str, dict[str, Any]]:
        """A cookie, and the message that answers."""
        body = {"version": "0.4.0", "tee": "software", "extra-params": ""}
        found = self.client.post("/kbs/v0/auth", json=body)
        self.client.cookies.clear()
        return cookie_of(found), self.crew.attester.answer(found.json()["nonce"])

    def attest(self, cookie: str, message: dict[str, Any]) -> httpx.Response:
        found = self.client.post("/kbs/v0/attest", json=message, headers={"cookie": f"{COOKIE}={cookie}"})
        self.client.cookies.clear()
        return found

    def resource(self, cookie: str) -> httpx.Response:
        return self.client.get(f"/kbs/v0/resource/{NAME}", headers={"cookie": f"{COOKIE}={cookie}"})

    def flow(self) -> str:
        """All of it; the identifier of the request that got the secret."""
        cookie, message = self.challenge()
        assert self.attest(cookie, message).status_code == 200
        found = self.resource(cookie)
        assert found.status_code == 200, found.text
        assert self.crew.attester.open(found.json()) == b"a secret"
        return found.headers["x-request-id"]

    def admin(self, path: str) -> httpx.Response:
        return self.client.get(f"/admin/v1/{path}", headers={"authorization": f"Bearer {self.crew.token}"})
