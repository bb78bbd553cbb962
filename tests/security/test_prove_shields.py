"""`cloister prove` through shields: what is sent over TLS or typed at a console shows natively, and else nowhere."""

import contextlib
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.property.tls_pieces.identities import known
from tests.system.consoles import Machine
from tests.system.service import free_port

from cloister.app.prove import prove
from cloister.cli._shield_file import read_policy_file
from cloister.observe.prove.plan import (
    AfterDelay,
    ArmName,
    Console,
    FeedSend,
    FeedStdin,
    FeedTerminal,
    FinishInput,
    GroundName,
    OnPort,
    Plan,
    Tls,
)
from cloister.observe.prove.record import ArmRecord
from cloister.observe.prove.render import Experiment, as_text
from cloister.observe.prove.tls_feed import over_tls
from cloister.observe.prove.verdict import Outcome
from cloister.shield.local_keys import LocalKeys
from cloister.shield_policy.resolve import resolve

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow, pytest.mark.timeout(300)]

GROUNDS = frozenset({GroundName.PACKETS, GroundName.TRACES})
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/bin", "TERM": "dumb"}
LEARNED = ("--norc", "--noprofile", "-i", "-c", "cat /dev/null; true")
SHELL = ("bash", "--norc", "--noprofile", "--noediting", "-i")


def experiment(cwd: Path, *words: str, **changes: object) -> Experiment:
    settings: dict[str, object] = {
        "words": words,
        "cwd": cwd,
        "environment": {**ENVIRONMENT, "TMPDIR": str(cwd)},
        "hold": 0.3,
        "ready_timeout": 30.0,
        "grounds": GROUNDS,
        **changes,
    }
    return prove(Plan(**settings), lambda _: None)  # type: ignore[arg-type]


def surfaces(arm: ArmRecord) -> set[str]:
    return {place.surface.value for place in arm.places_of(arm.secret_label)}


def identity_in(folder: Path) -> bytes:
    """`cert.pem` and `key.pem`; returns the pin."""
    (folder / "cert.pem").write_text(known("p256").pem)
    key = folder / "key.pem"
    key.touch(0o600)
    key.write_text(known("p256").key_pem)
    return known("p256").pin


@pytest.mark.needs_program("redis-server")
def test_what_is_sent_to_a_shielded_port_is_protected(tmp_path: Path) -> None:
    pin, port = identity_in(tmp_path), free_port()
    policy = tmp_path / "shield.toml"
    policy.write_text(
        f'[shield]\nunsafe_open_files = true\n[[shield.listen]]\nport = {port}\nprotocol = "tls"\n'
        'unsafe_certificate_file = "cert.pem"\nunsafe_key_file = "key.pem"\n'
    )
    feed = FeedSend(
        host="127.0.0.1", port=port, template=b"SET k {secret}\r\n", expect=re.compile(b"OK"),
        tls=Tls(pins=(pin,), natively=False),
    )  # fmt: skip
    done = experiment(
        tmp_path, "redis-server", "--save", "", "--port", str(port), feed=feed,
        readiness=OnPort(host="127.0.0.1", port=port),
        shield=resolve(read_policy_file(policy), LocalKeys()).serialize(),
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.PROTECTED, as_text(done)
    assert {"packet", "system call", "memory"} <= surfaces(done.native), "natively everything shows it"
    assert "over TLS to sha256:" in done.enclaved.fed.detail
    assert not any("packets from the prover" in one.what for one in done.enclaved.exclusions), "they are searched"


NGINX = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
ssl_early_data off; location / {{ return 200 "served\\n"; }} }} }}
"""


@pytest.mark.needs_program("nginx")
def test_a_program_that_speaks_tls_itself(tmp_path: Path) -> None:
    """In both arms the packets hide what is sent; natively memory and calls of the program do not."""
    pin, port = identity_in(tmp_path), free_port()
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port))
    feed = FeedSend(
        host="127.0.0.1", port=port, template=b"GET /?{secret} HTTP/1.1\r\nHost: x\r\n\r\n",
        expect=re.compile(b"served"), tls=Tls(pins=(pin,), natively=True),
    )  # fmt: skip
    done = experiment(
        tmp_path, "nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), feed=feed,
        readiness=OnPort(host="127.0.0.1", port=port),
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.PROTECTED, as_text(done)
    assert "memory" in surfaces(done.native)
    assert "packet" not in surfaces(done.native)


@contextlib.contextmanager
def tls_server(folder: Path) -> Iterator[tuple[int, bytearray]]:
    """A server with the key of `identity_in`, and what it was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as sealed:
                got.extend(sealed.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], got
        thread.join(10)


def test_a_server_with_another_key_is_sent_nothing(tmp_path: Path) -> None:
    identity_in(tmp_path)
    with tls_server(tmp_path) as (port, got):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        with pytest.raises(OSError, match="another key than the pinned one"):
            over_tls(connection, Tls(pins=(known("p256", "another").pin,), natively=True))
    assert not got


@pytest.mark.needs_program("openssl")
def test_a_server_with_another_key_makes_it_inconclusive(tmp_path: Path) -> None:
    identity_in(tmp_path)
    port = free_port()
    feed = FeedSend(
        host="127.0.0.1", port=port, template=b"{secret}\n",
        tls=Tls(pins=(known("p256", "another").pin,), natively=True),
    )  # fmt: skip
    done = experiment(
        tmp_path, "openssl", "s_server", "-accept", str(port), "-cert", "cert.pem", "-key", "key.pem", feed=feed,
        readiness=OnPort(host="127.0.0.1", port=port), grounds=frozenset(),
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.INCONCLUSIVE, as_text(done)
    assert "another key than the pinned one" in done.native.fed.detail


def test_the_control_a_server_with_the_pinned_key_is_sent_to(tmp_path: Path) -> None:
    pin = identity_in(tmp_path)
    with tls_server(tmp_path) as (port, got):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        with over_tls(connection, Tls(pins=(pin,), natively=False)) as sealed:
            assert sealed.version() == "TLSv1.3"
            sealed.sendall(b"FUNFOO")
    assert got == b"FUNFOO"


def test_natively_a_shielded_port_is_spoken_to_in_the_clear() -> None:
    shield, own = (Tls(pins=(bytes(32),), natively=natively) for natively in (False, True))
    sent = FeedSend(host="127.0.0.1", port=1, template=b"", tls=shield)
    assert (sent.tls_in(ArmName.NATIVE), sent.tls_in(ArmName.ENCLAVED)) == (None, shield)
    assert FeedSend(host="127.0.0.1", port=1, template=b"", tls=own).tls_in(ArmName.NATIVE) == own


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(home=tmp_path_factory.mktemp("host"))


def test_what_is_typed_and_printed_at_a_console_is_protected(tmp_path: Path) -> None:
    """Also what the program prints of it: natively that is a leak of its own."""
    done = experiment(
        tmp_path, "sort", feed=FeedStdin(), console=Console(), ending=FinishInput(), readiness=AfterDelay(seconds=0.5)
    )
    assert done.verdict.outcome is Outcome.PROTECTED, as_text(done)
    assert {"memory", "system call", "output"} <= surfaces(done.native), "natively everything shows it"
    assert any("the person at the console" in one.what for one in done.enclaved.exclusions)
    assert done.enclaved.output.stdout_bytes == done.native.output.stdout_bytes > 28, "the person reads it"


@pytest.mark.needs_program("bash")
def test_a_password_typed_at_a_shells_terminal_is_protected(tmp_path: Path, machine: Machine) -> None:
    done = experiment(
        tmp_path, *SHELL, feed=FeedTerminal(template=b"read -s X; echo got ${#X}\n{secret}\n"),
        console=Console(manifest=machine.manifest("bash", *LEARNED)), prompt=re.compile(b"[#$] "),
        ending=FinishInput(data=b"exit 0\n"), readiness=AfterDelay(seconds=0.5),
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.PROTECTED, as_text(done)
    assert {"memory", "system call"} <= surfaces(done.native)


@pytest.mark.needs_program("bash")
def test_what_a_shell_writes_to_a_file_is_found_all_the_same(tmp_path: Path, machine: Machine) -> None:
    done = experiment(
        tmp_path, *SHELL, feed=FeedTerminal(template=b"read -s X; echo $X > notes; true\n{secret}\n"),
        console=Console(manifest=machine.manifest("bash", *LEARNED)), prompt=re.compile(b"[#$] "),
        ending=FinishInput(data=b"exit 0\n"), readiness=AfterDelay(seconds=0.5), grounds=frozenset(),
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.LEAKED, as_text(done)
    assert {place.surface.value for place in done.verdict.leaks} <= {"file", "descriptor"}


def test_a_console_that_nobody_could_attach_to_proves_nothing(tmp_path: Path, machine: Machine) -> None:
    """The host measures something else than the person expects."""
    manifest = machine.manifest("cat")
    changed = tmp_path / "changed.toml"
    shutil.copy(manifest, changed)
    text = changed.read_text()
    digest = re.search(r'"([0-9a-f]{64})"', text)
    assert digest
    changed.write_text(text.replace(digest[1], "0" * 64))
    done = experiment(
        tmp_path, "cat", feed=FeedStdin(), console=Console(manifest=changed), ending=FinishInput(),
        readiness=AfterDelay(seconds=0.5), grounds=frozenset(), ready_timeout=5.0,
    )  # fmt: skip
    assert done.verdict.outcome is Outcome.INCONCLUSIVE, as_text(done)
    assert done.native.fed.holds
    assert "not what you asked for" in done.enclaved.fed.detail
