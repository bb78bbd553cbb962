"""Gramine's secret provisioning: a client that knows only Gramine's protocol, and whom it gets nothing for.

The client is written from Gramine's own sources (secret_prov_attest.c); its certificates carry evidence as Gramine's
do, and as the interoperable form has it.
"""

import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.forge import ratls
from tests.forge.emulated_sev import quick_keystore
from tests.forge.software import SoftwareForge
from tests.forge.x509 import spki
from tests.machines.build import program
from tests.services.key_broker import NOW, Attester, Clock, Desk, desk, software_attester

from cloister.app.provisioning.gramine import REQUEST, RESPONSE, Gramine
from cloister.app.provisioning.port import Port, Speaks, serving
from cloister.cli import main
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request as Launch
from cloister.emulate.inside import launched, load_program
from cloister.emulate.machine import Machine
from cloister.emulate.terminal import sealed_terminal
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind
from cloister.endorse.importing import import_files
from cloister.model import Tee
from cloister.serve.server import bind
from cloister.verifier import Verifier
from cloister.verifier.trust_files import anchors_in

NAME = "app/keys/files"
SECRET = b"00112233445566778899aabbccddeeff"


@dataclass
class Client:
    """A program in Gramine: its key, and the certificate with its evidence."""

    pem: Path | None

    def ask(
        self,
        address: tuple[str, int],
        authority: Path,
        *,
        request: bytes = REQUEST,
        version: ssl.TLSVersion | None = None,
    ) -> bytes:
        """What secret_provision_start() gets. ssl.SSLError, ConnectionError if it gets nothing."""
        context = ssl.create_default_context(cafile=str(authority))
        context.check_hostname = False
        if self.pem is not None:
            context.load_cert_chain(self.pem)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        with socket.create_connection(address, timeout=20) as plain, context.wrap_socket(plain) as tls:
            tls.sendall(request)
            head = exactly(tls, len(RESPONSE) + 4)
            assert head.startswith(RESPONSE)
            (size,) = struct.unpack(">I", head[len(RESPONSE) :])
            secret = exactly(tls, size)
            assert tls.recv(1) == b""
            return secret


def exactly(tls: ssl.SSLSocket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = tls.recv(size - len(got))
        if not piece:
            raise ConnectionError("the server closed the connection")
        got += piece
    return got


def client_of(
    folder: Path,
    make: Callable[[bytes], bytes],
    *,
    form: str = "dice",
    claimed: ratls.Key | None = None,
) -> Client:
    """A fresh key and its certificate; `claimed` is another key that the evidence speaks of."""
    key = ratls.fresh_key()
    spoken_of = claimed or key
    if form == "dice":
        extension = ratls.dice_extension(make, ratls.claims_for(spoken_of))
    else:
        extension = (ratls.GRAMINE, make(ratls.report_data(spki(spoken_of))))
    encoded = ratls.certificate(key, [extension]).encoded
    path = folder / f"client-{os.urandom(4).hex()}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(ssl.DER_cert_to_PEM_cert(encoded).encode() + private)
    return Client(path)


@dataclass
class Served:
    """A service with both of its ports, and whose evidence it believes."""

    desk: Desk
    host: SoftwareForge
    address: tuple[str, int]
    authority: Path
    folder: Path
    told: list[dict[str, object]]

    def entries(self) -> list[str]:
        found = (json.loads(line) for line in (self.folder / "state" / "audit.log").read_text().splitlines())
        return [json.dumps(one) for one in found]


@contextmanager
def served(
    folder: Path,
    *,
    as_string: bool = False,
    attester: Attester | None = None,
    at: datetime = NOW,
    speaks: Speaks | None = None,
) -> Iterator[Served]:
    host = SoftwareForge()
    with desk(folder, attester or software_attester(host=host), clock=Clock(at)) as found:
        certificate, key = found.service.state.certificate("127.0.0.1")
        assert found.service.appraiser is not None
        assert found.service.broker is not None
        told: list[dict[str, object]] = []
        port = Port(
            appraiser=found.service.appraiser, broker=found.service.broker, certificate=certificate, key=key,
            speaks=speaks or Gramine(NAME, as_string), clock=lambda: at,
            tell=lambda event, **members: told.append({"event": event, **members}),
        )  # fmt: skip
        with bind("127.0.0.1", 0) as listener, serving(port, listener):
            yield Served(found, host, listener.getsockname()[:2], certificate, folder, told)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        yield found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_attested_client_gets_its_secret(service: Served, version: ssl.TLSVersion) -> None:
    service.desk.store_secret(NAME, SECRET)
    client = client_of(service.folder, service.host.evidence)
    assert client.ask(service.address, service.authority, version=version) == SECRET
    assert "released" in service.entries()[-1]
    assert NAME in service.entries()[-1]
    assert service.told[-1]["verdict"] == "released"


@pytest.fixture(scope="module")
def enclave(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A program in an emulated SGX machine, as Gramine runs on real ones."""
    folder = tmp_path_factory.mktemp("sgx")
    quick_keystore(folder)
    (folder / "app.c").write_text("int main(void) { return 0; }\n")
    kind = kind_of("sgx")
    (folder / "app").write_bytes(program(folder / "app.c", kind.architecture))
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    image = load_program(str(folder / "app"))
    machine = launched(kind, Launch(tee="sgx", keys=str(folder / "store")), image, terminal)
    yield machine
    machine.close()


def attester_of(machine: Machine) -> Attester:
    vouching = machine.vouching(datetime.now(UTC))
    anchors, keys = anchors_in(vouching.roots, "roots.pem", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    endorsements = cache.endorsements(import_files(vouching.collateral.items())) | keys
    measurement = machine.measurement.value.hex()
    return Attester(
        tee="sgx", measurement=measurement, make=machine.evidence,
        verifier=Verifier(anchors=anchors, endorsements=endorsements),
        policy=f'accept_anchors = ["testing"]\n[sgx]\nmrenclave = "{measurement}"\n',
    )  # fmt: skip


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("form", ["dice", "gramine"])
def test_an_enclave_gets_its_secret(enclave: Machine, form: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
    """By the certificate that newer releases of Gramine make, and by that of older ones."""
    with served(tmp_path, attester=attester_of(enclave), at=datetime.now(UTC)) as found:
        found.desk.store_secret(NAME, SECRET)
        client = client_of(tmp_path, enclave.evidence, form=form)
        assert client.ask(found.address, found.authority, version=version) == SECRET
        stranger = client_of(tmp_path, enclave.evidence, form=form, claimed=ratls.fresh_key())
        refused(found, stranger, version=version)


def test_a_string_has_its_zero_byte(tmp_path: Path) -> None:
    with served(tmp_path, as_string=True) as found:
        found.desk.store_secret(NAME, SECRET)
        assert client_of(tmp_path, found.host.evidence).ask(found.address, found.authority) == SECRET + b"\0"


def test_the_newest_version_is_given(service: Served) -> None:
    service.desk.store_secret(NAME, b"old")
    service.desk.store_secret(NAME, b"new")
    client = client_of(service.folder, service.host.evidence)
    assert client.ask(service.address, service.authority) == b"new"


def refused(service: Served, client: Client, **how: object) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.ask(service.address, service.authority, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_evidence_of_a_host_that_nobody_trusts(service: Served, version: ssl.TLSVersion) -> None:
    service.desk.store_secret(NAME, SECRET)
    refused(service, client_of(service.folder, SoftwareForge().evidence), version=version)
    wait_for(lambda: service.told)
    assert service.told[-1]["verdict"] == "refused"
    assert "not-attested" in service.entries()[-1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_somebody_elses_evidence_in_ones_own_certificate(service: Served, version: ssl.TLSVersion) -> None:
    """A man in the middle has the enclave's certificate, but not its key."""
    service.desk.store_secret(NAME, SECRET)
    victim = ratls.fresh_key()
    refused(service, client_of(service.folder, service.host.evidence, claimed=victim), version=version)


def test_a_client_without_a_certificate(service: Served) -> None:
    refused(service, Client(None))


def test_a_certificate_without_evidence(service: Served) -> None:
    key = ratls.fresh_key()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = service.folder / "plain.pem"
    path.write_bytes(ssl.DER_cert_to_PEM_cert(ratls.certificate(key, []).encoded).encode() + private)
    refused(service, Client(path))


def test_a_program_that_the_rule_does_not_name(service: Served) -> None:
    service.desk.store_secret(NAME, SECRET, measurements={"software": ["00" * 32]}, anchors=["software"])
    refused(service, client_of(service.folder, service.host.evidence))
    wait_for(lambda: service.told)
    assert "policy-deny" in service.entries()[-1]


def test_a_secret_that_is_not_there(service: Served) -> None:
    refused(service, client_of(service.folder, service.host.evidence))


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\n\r\n", REQUEST[:-1] + b"X", b"\0" * len(REQUEST)])
def test_what_is_not_the_request(service: Served, request_: bytes) -> None:
    service.desk.store_secret(NAME, SECRET)
    refused(service, client_of(service.folder, service.host.evidence), request=request_)


def test_silence_does_not_keep_others_waiting(service: Served) -> None:
    """Fewer than the places there are: those who come after them are served."""
    service.desk.store_secret(NAME, SECRET)
    silent = [socket.create_connection(service.address) for _ in range(12)]
    try:
        client = client_of(service.folder, service.host.evidence)
        assert client.ask(service.address, service.authority) == SECRET
    finally:
        for one in silent:
            one.close()


def test_many_at_once(service: Served) -> None:
    service.desk.store_secret(NAME, SECRET)
    client, got = client_of(service.folder, service.host.evidence), []
    threads = [
        threading.Thread(target=lambda: got.append(client.ask(service.address, service.authority))) for _ in range(24)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert got == [SECRET] * 24


def test_the_log_does_not_hold_the_secret(service: Served) -> None:
    service.desk.store_secret(NAME, SECRET)
    client_of(service.folder, service.host.evidence).ask(service.address, service.authority)
    assert SECRET.decode() not in "".join(service.entries()) + json.dumps(service.told) + service.desk.log.getvalue()


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("nothing came")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--gramine", "127.0.0.1:0"], "go together"),
        (["--gramine-secret", "a/b/c"], "go together"),
        (["--gramine-string"], "goes with --gramine"),
        (["--gramine", "nowhere", "--gramine-secret", "a/b/c"], "--gramine nowhere"),
        (["--gramine", "127.0.0.1:0", "--gramine-secret", "a/b/c", "--verifier"], "verifies and releases"),
        (["--gramine", "127.0.0.1:0", "--gramine-secret", "a/b/c", "--unsafe-plain-http"], "certificate"),
        (["--gramine", "127.0.0.1:0", "--gramine-secret", "a/b/c", "--workers", "2"], "one process"),
    ],
)
def test_options_that_cannot_be_meant(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--state", str(tmp_path / "state"), *words]) == 2
    assert reason in capsys.readouterr().err
