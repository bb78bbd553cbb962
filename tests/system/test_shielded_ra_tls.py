"""RA-TLS of a program that knows nothing of TLS: a real broker, a real attester, Cloister's verifier at the other end.

The program sends and receives in the clear. What its peers meet is TLS 1.3, and a certificate whose evidence says
which program in which enclave holds the key.
"""

import contextlib
import hashlib
import os
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from tests.forge.software import SoftwareForge
from tests.system.attested import CLOISTER, Host, Program, attested_host, measured, run

from cloister._x509 import Certificate
from cloister.appraise.parse_policy import parse_policy
from cloister.attest.host_key import FileHostKey
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.launch import _abi
from cloister.launch.command import start_block
from cloister.launch.runtime_file import runtime_path
from cloister.launch.start_pipe import filled_pipe
from cloister.model import Tee
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ListenEntry
from cloister.shield_policy.words import Transport
from cloister.tls import Demands, Identity, PeerRefused, client_context, demand, peer_of, server_context

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PATIENCE = 60
SECRET = b"only for attested ears"
SOURCE = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static struct sockaddr_in at(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    return address;
}
static int speak(int fd, const char *greeting) {
    char line[256] = {0};
    ssize_t n = read(fd, line, sizeof line - 1);
    if (n <= 0) return 5;
    if (dprintf(fd, "%s%s", greeting, line) < 0) return 6;
    return 0;
}
static int serve(const char *port, int count) {
    struct sockaddr_in address = at(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&address, sizeof address)) { perror("bind"); return 3; }
    if (listen(fd, 5)) { perror("listen"); return 4; }
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        int peer = accept(fd, 0, 0);
        if (peer < 0) { perror("accept"); continue; }
        if (i % 2) { /* as servers with a process for each connection have it */
            if (!fork()) _exit(speak(peer, "child: "));
            close(peer);
            wait(0);
            continue;
        }
        speak(peer, "hello, ");
        close(peer);
    }
    return 0;
}
static int ask(const char *port) {
    struct sockaddr_in address = at(port);
    char line[256] = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&address, sizeof address)) { perror("connect"); return 3; }
    if (write(fd, "a question", 10) != 10) { perror("write"); return 4; }
    if (read(fd, line, sizeof line - 1) <= 0) { perror("read"); return 5; }
    printf("answer %s\n", line);
    return 0;
}
int main(int argc, char **argv) {
    return !strcmp(argv[1], "serve") ? serve(argv[2], atoi(argv[3])) : ask(argv[2]);
}
"""
SESSION = """\
name: {name}
version: "1"
services:
  - name: app
    command: {command}
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
    shield:
      unsafe_open_files: true
      {shield}
"""


@dataclass(frozen=True)
class Stage:
    host: Host
    program: Program
    directory: Path

    def put(self, name: str, command: list[str], shield: str) -> None:
        """A session of its own each time: only its owner could change it."""
        words = "[" + ", ".join(f'"{word}"' for word in command) + "]"
        self.host.put(
            name, SESSION.format(name=name, command=words, measurement=self.program.measurement, shield=shield)
        )

    @contextlib.contextmanager
    def running(self, name: str) -> "Iterator[subprocess.Popen[bytes]]":
        command = self.host.command(name, "app", self.program)
        with subprocess.Popen(
            command, env=self.host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.directory
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def demands(self, measurement: str = "") -> Demands:
        """This program, on this host."""
        key = FileHostKey(self.host.home / "cloister" / "host-key.pem")
        anchors = TrustAnchors.of([key.spki], kind=AnchorKind.SOFTWARE, name="host", tees=frozenset({Tee.SOFTWARE}))
        text = f'accept_anchors = ["software"]\n[software]\nmeasurement = "{measurement or self.program.measurement}"\n'
        return demand(parse_policy(text), anchors=anchors, endorsements=Endorsements(keys=(key.spki,)))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("ra-tls")
    (directory / "app.c").write_text(SOURCE)
    run(["cc", "-O1", "-o", str(directory / "app"), str(directory / "app.c")])
    with attested_host(directory) as host:
        yield Stage(host=host, program=measured(directory / "app", directory), directory=directory)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ready(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout
    assert select.select([process.stdout], [], [], PATIENCE)[0], "it says nothing"
    line = process.stdout.readline()
    assert line == b"ready\n", (line, process.stderr.read() if process.stderr else b"")


def conversation(port: int, context: ssl.SSLContext) -> tuple[bytes, Certificate]:
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(SECRET)
        answer = tls.recv(1000)
        peer = peer_of(tls)
    assert peer is not None
    return answer, peer.certificate


def test_a_server_shows_who_it_is(stage: Stage) -> None:
    port = free_port()
    stage.put("team/server", ["app", "serve", str(port), "5"], f"listen: [{{ port: {port}, protocol: ra-tls }}]")
    with stage.running("team/server") as process:
        ready(process)
        found = [conversation(port, client_context(stage.demands())) for _ in range(4)]
        with pytest.raises(PeerRefused):
            conversation(port, client_context(stage.demands("ab" * 32)))
    assert [answer for answer, _ in found] == [b"hello, " + SECRET, b"child: " + SECRET] * 2
    assert len({certificate for _, certificate in found}) == 1, "made once, for all connections of the port"


class Attesting:
    """A server on this side, which demands evidence of its clients. It is known by its key."""

    def __init__(self, demands: Demands) -> None:
        self.identity = Identity(SoftwareForge().evidence)
        self.pin = hashlib.sha256(self.identity.credentials().certificate.spki).hexdigest()
        self.heard: list[bytes] = []
        self.refused: list[PeerRefused] = []
        self._context = server_context(self.identity, demands=demands)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        try:
            with plain, self._context.wrap_socket(plain, server_side=True) as tls:
                self.heard.append(tls.recv(1000))
                tls.sendall(b"for " + self.heard[-1])
        except PeerRefused as refused:
            self.refused.append(refused)

    def connect(self, pin: str = "") -> str:
        """What a program's shield says of it."""
        where = f"address: 127.0.0.1, port: {self.port}"
        return f'connect: [{{ {where}, protocol: ra-tls, pins: ["sha256:{pin or self.pin}"] }}]'


def asked(stage: Stage, server: Attesting, pin: str = "") -> tuple[int, bytes]:
    """The program connects; its status and what it printed."""
    name = f"team/client-{server.port}"
    stage.put(name, ["app", "ask", str(server.port)], server.connect(pin))
    with server, stage.running(name) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, out


def test_a_client_shows_who_it_is(stage: Stage) -> None:
    """The server demands evidence of this very program; the client knows the server by its key."""
    server = Attesting(stage.demands())
    assert asked(stage, server) == (0, b"answer for a question\n")
    assert server.heard == [b"a question"]


def test_a_client_that_is_another_program_is_heard_by_nobody(stage: Stage) -> None:
    server = Attesting(stage.demands("ab" * 32))
    status, out = asked(stage, server)
    assert (status != 0, out) == (True, b"")
    assert (server.heard, len(server.refused)) == ([], 1)


def test_no_evidence_is_shown_where_there_is_no_attester(stage: Stage, tmp_path: Path) -> None:
    block = ShieldBlock(
        strict=False, network=True, entries=(ListenEntry(transport=Transport.RA_TLS, port=free_port(), name="x"),)
    )  # fmt: skip
    start = filled_pipe(start_block(["app", "serve", "1", "1"], {}, shield=block.serialize()))
    words = [runtime_path(), _abi.OPTION_SHIELD, f"{_abi.OPTION_START_FD}{start}", "--", str(stage.program.path), "app"]
    done = subprocess.run(words, pass_fds=[start], capture_output=True, text=True, check=False, timeout=PATIENCE)
    os.close(start)
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, "")
    assert "ra-tls shows evidence, which only an attester makes" in done.stderr
    policy = tmp_path / "shield.toml"
    policy.write_text('[shield]\nunsafe_open_files = true\n[[shield.listen]]\nport = 8443\nprotocol = "ra-tls"\n')
    done = subprocess.run(
        [*CLOISTER, "run", "--shield", str(policy), "--", str(stage.program.path)], env=stage.host.environment,
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 2
    assert "ra-tls" in done.stderr
    assert "--broker" in done.stderr
