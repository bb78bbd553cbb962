"""The carrier: one process beside a program in the software enclave, outside it, as long as the program's tree lives.

    python -m cloister.attest.carrier       plan on standard input, report on standard output: cloister.attest.starting

It is started anew, not forked, so that it has nothing of the program's arguments and environment, and gives up its
standard streams as soon as it listens. Its socket stands in a fresh directory that only its user can enter; both are
removed at its end, also by a signal.
"""

import base64
import contextlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from cloister.attest.attester import Attester
from cloister.attest.broker_client import Provider, Server
from cloister.attest.console_person import Person, wait_for_person
from cloister.attest.console_relay import Ends, Relay
from cloister.attest.conversation import Conversations
from cloister.attest.flow import Flow
from cloister.attest.frames import Kind, refusal, send
from cloister.attest.host_key import FileHostKey, default_path
from cloister.attest.peer import Process
from cloister.attest.starting import Given, Plan
from cloister.attest.tree import Tree
from cloister.errors import CloisterError, Undecided, UsageError

__all__ = ["conversations_of", "main", "serving"]

MOST_CONNECTIONS: Final = 16
MOST_TURNED_AWAY: Final = 32
AGAIN_SECONDS: Final = 5.0
"""For each of three answers, while a program waits in open(2)."""
LONGEST_PATH: Final = 107
"""sockaddr_un.sun_path without its NUL, unix(7)."""
ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def conversations_of(plan: Plan, tree: Tree, person: Person | None = None) -> Conversations:
    """Everything that can be wrong with the plan is found here, before the program is started. CloisterError.

    `person`: who answers in the broker's place.
    """
    flow = Flow(_appending(plan.flow) if plan.flow else None)
    key = FileHostKey(Path(plan.host_key) if plan.host_key else default_path())
    manifest = base64.b64decode(plan.manifest)
    attester = Attester(key, tree, bytes.fromhex(plan.libraries))
    if person is not None:
        return Conversations(attester=attester, source=person, manifest=manifest, flow=flow)
    verifier = Server(role="verifier", url=plan.verifier, ca=plan.ca, flow=flow) if plan.verifier else None
    broker = Server(role="broker", url=plan.broker, ca=plan.ca, flow=flow)
    source = Provider(broker=broker, verifier=verifier, session=plan.session, service=plan.service)
    again = replace(
        source, broker=replace(broker, seconds=AGAIN_SECONDS),
        verifier=None if verifier is None else replace(verifier, seconds=AGAIN_SECONDS),
    )  # fmt: skip
    return Conversations(attester=attester, source=source, again=again, manifest=manifest, flow=flow)


def _appending(path: str) -> IO[str]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a")
    except OSError as error:
        raise UsageError(f"--flow {path}: {error.strerror}") from error


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket in a directory of its own; neither is there afterwards."""
    with tempfile.TemporaryDirectory(prefix="cloister-", dir=os.environ.get("XDG_RUNTIME_DIR") or None) as directory:
        path = f"{directory}/attester"
        if len(path.encode()) > LONGEST_PATH:
            raise UsageError(f"{path}: too long for a socket; set TMPDIR to a shorter directory")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(path)
            listener.listen()
            listener.setblocking(False)  # noqa: FBT003 - the standard library's
            yield listener


def serving(listener: socket.socket, conversations: Conversations, tree: Tree) -> None:
    """Answer until the tree has ended. A conversation has a thread of its own, of which there are not many.

    Strangers are turned away before that: they must not keep those away who have something to say.
    """
    free = threading.BoundedSemaphore(MOST_CONNECTIONS)
    away = Away()

    def answer(sock: socket.socket) -> None:
        try:
            conversations.serve(sock)
        finally:
            free.release()

    with contextlib.closing(away):
        while tree.witness.alive:
            waiting = select.poll()
            waiting.register(listener, select.POLLIN)
            waiting.register(tree.witness.pidfd, select.POLLIN)
            if listener.fileno() not in {descriptor for descriptor, _ in waiting.poll()}:
                continue
            try:
                sock, _ = listener.accept()
            except OSError:  # who connected is gone; or there are no descriptors now
                time.sleep(0.01)
                continue
            if refused := conversations.stranger(sock):
                away.turn(sock, *refused)
            elif free.acquire(blocking=False):
                threading.Thread(target=answer, args=(sock,), daemon=True).start()
            else:
                away.turn(sock, "undecided: too many ask the attester at once", Undecided.exit_code)


class Away:
    """Connections that were turned away, the last ones: who still writes shall find the refusal, not a broken pipe."""

    def __init__(self) -> None:
        self._last: deque[socket.socket] = deque()

    def turn(self, sock: socket.socket, text: str, code: int) -> None:
        """Say why, and forget it some connections later."""
        with contextlib.suppress(OSError):
            send(sock, Kind.REFUSED, refusal(text, code), 0.1)
            sock.shutdown(socket.SHUT_WR)
        self._last.append(sock)
        if len(self._last) > MOST_TURNED_AWAY:
            self._last.popleft().close()

    def close(self) -> None:
        """Forget all."""
        for sock in self._last:
            sock.close()


class Stopped(BaseException):
    """A signal asks for the end."""


def _stop(*_: object) -> None:
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)  # one is enough: what is made shall be removed
    raise Stopped


def _say(document: Mapping[str, str | int]) -> None:
    """To whoever started this; then the standard streams are given up: nobody shall wait for their end."""
    os.write(1, json.dumps(document).encode())
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in range(3):
        os.dup2(nothing, stream)


def _run(plan: Plan) -> None:
    with Process(plan.starter) as starter, contextlib.ExitStack() as held:
        person = None
        if plan.console:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
            person = _person(plan.console, starter)
            if person is None:
                return
            held.callback(person.end)
        tree = Tree(starter, plan.runtime)
        conversations = conversations_of(plan, tree, person)
        with listening() as listener:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
            _say({"socket": listener.getsockname(), "terminal": person is not None and person.call.terminal})
            serving(listener, conversations, tree)
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)


def _person(address: str, starter: Process) -> Person | None:
    """Who calls at the console, with the ends of the program's descriptors that `starting.Given` names."""
    with socket.socket(fileno=Given.LISTENER) as listener:
        person = wait_for_person(listener, starter.pidfd)
    if address.startswith("/"):
        Path(address).unlink(missing_ok=True)
    if person is None:
        return None
    terminal, out = person.call.terminal, socket.socket(fileno=Given.OUT)
    into, unused = (Given.MASTER, Given.INTO) if terminal else (Given.INTO, Given.MASTER)
    os.close(unused)
    ends = Ends(into=into, out=out, terminal=terminal)
    ends.resize(person.call.rows, person.call.columns)
    person.relay = Relay(ends)
    return person


def main() -> int:
    """Read the plan, listen, report, serve; the exit code is for nobody."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    for number in ENDINGS:
        signal.signal(number, _stop)
    os.umask(0o077)
    try:
        _run(Plan(**json.loads(sys.stdin.buffer.read())))
    except Stopped:
        return 0
    except CloisterError as error:
        _say({"error": str(error), "code": error.exit_code})
        return error.exit_code
    except (OSError, TypeError, ValueError) as error:
        _say({"error": f"the attester cannot start: {getattr(error, 'strerror', '') or error}", "code": 125})
        return 125
    return 0


if __name__ == "__main__":
    # Without waiting for conversations with processes that are gone: their threads are daemons, their sockets end here.
    os._exit(main())
