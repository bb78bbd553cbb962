"""`cloister serve --attested-tls`: secrets for programs with EGo's certificates, and for nobody else.

The certificates are what EGo's library makes (tests/forge/ego.py; and, in the long tests, Go's own X.509 and TLS), with
reports of an emulated SGX machine behind them.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization
from tests.forge import ego, ratls
from tests.forge.software import SoftwareForge
from tests.integration.test_serve_gramine import NAME, SECRET, Served, attester_of, enclave, served, wait_for

from cloister.app.provisioning.http import LONGEST, Http
from cloister.cli import main
from cloister.emulate.machine import Machine
from cloister.errors import NotAttested
from cloister.tls import client_context, peer_of
from cloister.tls.demands import Demands
from cloister.tls.refusal import PeerRefused
from cloister.verifier.policy_files import load_policy

__all__ = ["enclave"]

RESOURCE: Final = f"/kbs/v0/resource/{NAME}"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
GO = Path(__file__).parent / "peer_programs" / "attested.go"


@pytest.fixture
def service(enclave: Machine, tmp_path: Path) -> Iterator[Served]:
    attester = attester_of(enclave)  # what vouches for the machine is made now, and good from now on
    with served(tmp_path, attester=attester, at=datetime.now(UTC), speaks=Http()) as found:
        found.desk.store_secret(NAME, SECRET)
        yield found


def credentials(folder: Path, quote: ratls.Quote, *, claimed: bool = True) -> Path:
    """EGo's certificate and its key, for `ssl`. Without `claimed` the evidence speaks of another key."""
    key = ego.fresh_key()
    certificate = ego.certificate(
        key, quote if claimed else lambda _: quote(ratls.report_data(b"another key")), datetime.now(UTC)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"ego-{os.urandom(4).hex()}.pem"
    path.write_bytes(ssl.DER_cert_to_PEM_cert(certificate.encoded).encode() + private)
    return path


def of_open_enclave(folder: Path, quote: ratls.Quote) -> Path:
    """Its older certificates, whose reports have the hash of the key's PEM text."""
    key = ratls.fresh_key()
    report = ratls.oe_report(quote(ratls.report_data(ratls.pem_key(key))))
    encoded = ratls.certificate(key, [(ratls.OE_REPORT, report)]).encoded
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "oe.pem"
    path.write_bytes(ssl.DER_cert_to_PEM_cert(encoded).encode() + private)
    return path


def get(
    service: Served, shown: Path | None, path: str = RESOURCE, version: ssl.TLSVersion | None = None
) -> http.client.HTTPResponse:
    """The server's answer. ssl.SSLError or ConnectionError if it gives none."""
    context = ssl.create_default_context(cafile=str(service.authority))
    if shown is not None:
        context.load_cert_chain(shown)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection(*service.address, timeout=20, context=context)
    try:
        connection.request("GET", path, headers={"accept": "*/*", "user-agent": "Go-http-client/1.1"})
        return connection.getresponse()
    finally:
        connection.close()


def refused(service: Served, shown: Path | None, version: ssl.TLSVersion | None = None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        get(service, shown, version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_program_of_ego_gets_its_secret(
    enclave: Machine, service: Served, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    answer = get(service, credentials(tmp_path, enclave.evidence), version=version)
    assert (answer.status, answer.read()) == (200, SECRET)
    assert answer.headers["cache-control"] == "no-store"
    assert "released" in service.entries()[-1]
    assert service.told[-1]["event"] == "attested-tls"


def test_a_program_of_open_enclave_gets_its_secret(enclave: Machine, service: Served, tmp_path: Path) -> None:
    answer = get(service, of_open_enclave(tmp_path, enclave.evidence))
    assert (answer.status, answer.read()) == (200, SECRET)


@pytest.mark.parametrize("version", VERSIONS)
def test_somebody_elses_report_in_ones_own_certificate(
    enclave: Machine, service: Served, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    refused(service, credentials(tmp_path, enclave.evidence, claimed=False), version)
    wait_for(lambda: service.told)
    assert service.told[-1]["verdict"] == "refused"
    assert "not-attested" in service.entries()[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_without_evidence_and_none(service: Served, version: ssl.TLSVersion, tmp_path: Path) -> None:
    refused(service, None, version)
    refused(service, credentials(tmp_path, lambda _: b"no quote"), version)


def test_evidence_of_another_maker(service: Served, tmp_path: Path) -> None:
    host = SoftwareForge()
    key = ratls.fresh_key()
    encoded = ratls.certificate(key, [ratls.dice_extension(host.evidence, ratls.claims_for(key))]).encoded
    path = tmp_path / "stranger.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(ssl.DER_cert_to_PEM_cert(encoded).encode() + private)
    refused(service, path)


def problem_of(answer: http.client.HTTPResponse, status: int) -> str:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    return str(json.loads(answer.read())["detail"])


def test_attested_and_not_allowed(enclave: Machine, service: Served, tmp_path: Path) -> None:
    service.desk.store_secret("app/keys/other", SECRET, measurements={"sgx": ["00" * 32]}, anchors=["testing"])
    shown = credentials(tmp_path, enclave.evidence)
    assert "another program" in problem_of(get(service, shown, "/kbs/v0/resource/app/keys/other"), 403)
    problem_of(get(service, shown, "/kbs/v0/resource/app/keys/none"), 404)
    assert "policy-deny" in "".join(service.entries())


MALFORMED = {
    "another path": b"GET /admin/v1/secrets HTTP/1.1\r\n\r\n",
    "another method": b"POST /kbs/v0/resource/app/keys/files HTTP/1.1\r\n\r\n",
    "no name": b"GET /kbs/v0/resource/ HTTP/1.1\r\n\r\n",
    "up": b"GET /kbs/v0/resource/../../admin HTTP/1.1\r\n\r\n",
    "two requests": b"GET /kbs/v0/resource/app/keys/files HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "a body": b"GET /kbs/v0/resource/app/keys/files HTTP/1.1\r\n\r\nx",
    "no end": b"GET /kbs/v0/resource/app/keys/files HTTP/1.1\r\n" + b"a: b\r\n" * (LONGEST // 6),
    "another version": b"GET /kbs/v0/resource/app/keys/files HTTP/2\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_not_the_request(enclave: Machine, service: Served, kind: str, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=str(service.authority))
    context.load_cert_chain(credentials(tmp_path, enclave.evidence))
    with (
        socket.create_connection(service.address, timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(MALFORMED[kind])
        answer = tls.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert SECRET not in answer


def test_nothing_of_the_secret_is_logged(enclave: Machine, service: Served, tmp_path: Path) -> None:
    get(service, credentials(tmp_path, enclave.evidence))
    assert SECRET.decode() not in "".join(service.entries()) + json.dumps(service.told) + service.desk.log.getvalue()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--attested-tls", "nowhere"], "--attested-tls nowhere"),
        (["--attested-tls", "127.0.0.1:0", "--broker", "--verifier-key", "x"], "verifies and releases"),
        (["--attested-tls", "127.0.0.1:0", "--unsafe-plain-http"], "certificate"),
        (["--attested-tls", "127.0.0.1:0", "--workers", "2"], "one process"),
    ],
)
def test_options_that_cannot_be_meant(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--state", str(tmp_path / "state"), *words]) == 2
    assert reason in capsys.readouterr().err


def demands_of(machine: Machine, folder: Path, measurement: str = "") -> Demands:
    attester = attester_of(machine)
    file = folder / "policy.toml"
    file.write_text(attester.policy.replace(attester.measurement, measurement or attester.measurement))
    policy, references = load_policy(file, datetime.now(UTC))
    return Demands(verifier=attester.verifier, policy=policy, references=references)


@contextmanager
def ego_server(shown: Path) -> Iterator[tuple[str, int]]:
    """A server in an enclave, as enclave.CreateAttestationServerTLSConfig configures it; it is asked once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def answer() -> None:
            try:
                with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as tls:
                    tls.sendall(b"from the enclave")
            except OSError:
                return  # the client refused

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(30)


def read_from(address: tuple[str, int], demands: Demands) -> bytes:
    context = client_context(demands)
    with socket.create_connection(address, timeout=20) as plain, context.wrap_socket(plain) as tls:
        peer = peer_of(tls)
        assert peer is not None
        assert peer.verdict.claims["mrenclave"]
        return tls.recv(100)


def test_our_clients_verify_egos_servers(enclave: Machine, tmp_path: Path) -> None:
    with ego_server(credentials(tmp_path, enclave.evidence)) as address:
        assert read_from(address, demands_of(enclave, tmp_path)) == b"from the enclave"


def test_our_clients_verify_open_enclaves_servers(enclave: Machine, tmp_path: Path) -> None:
    with ego_server(of_open_enclave(tmp_path, enclave.evidence)) as address:
        assert read_from(address, demands_of(enclave, tmp_path)) == b"from the enclave"


@pytest.mark.parametrize(
    "change",
    [
        lambda machine, folder: (credentials(folder, machine.evidence, claimed=False), demands_of(machine, folder)),
        lambda machine, folder: (credentials(folder, machine.evidence), demands_of(machine, folder, "00" * 32)),
    ],
    ids=["another key's report", "another program"],
)
def test_our_clients_refuse_other_servers(
    enclave: Machine, tmp_path: Path, change: Callable[[Machine, Path], tuple[Path, Demands]]
) -> None:
    shown, demands = change(enclave, tmp_path)
    with ego_server(shown) as address, pytest.raises((PeerRefused, NotAttested)):
        read_from(address, demands)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program."""
    folder = tmp_path_factory.mktemp("go")
    environment = os.environ | {
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "GO111MODULE": "off",
        "HOME": str(folder),
    }
    subprocess.run(["go", "build", "-o", folder / "peer", GO], check=True, timeout=900, env=environment)
    return folder / "peer"


def attested(process: "subprocess.Popen[str]", machine: Machine) -> None:
    """Be the platform of a Go program: a report over the key that it names."""
    assert process.stdin is not None
    assert process.stdout is not None
    digest = bytes.fromhex(process.stdout.readline())
    process.stdin.write(ratls.oe_report(machine.evidence(digest.ljust(64, b"\0"))).hex() + "\n")
    process.stdin.flush()


@contextmanager
def started(*words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.needs_program("go")
def test_gos_own_tls_gets_the_secret(peer: Path, enclave: Machine, service: Served) -> None:
    url = f"https://127.0.0.1:{service.address[1]}{RESOURCE}"
    with started(peer, "ask", url, service.authority) as process:
        attested(process, enclave)
        assert process.communicate(timeout=60)[0] == f"200 {SECRET.decode()}\n"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.needs_program("go")
def test_gos_own_server_is_verified(peer: Path, enclave: Machine, tmp_path: Path) -> None:
    with started(peer, "serve") as process:
        attested(process, enclave)
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().rpartition(":")
        assert read_from((host, int(port)), demands_of(enclave, tmp_path)) == b"from the enclave"
