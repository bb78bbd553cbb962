"""`cloister tls probe` against servers of every kind: its exit codes are those of `cloister verify`."""

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge import ratls
from tests.forge.every import intel, members
from tests.forge.x509 import spki
from tests.services.attested_http import serving
from tests.services.attested_tls import EXPECTED, Recording, demands, genuine, hostile, identity, own_key

from cloister.cli import main
from cloister.tls import server_context


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """The options that make the forged Intel believable, as a user gives them."""
    (tmp_path / "root.pem").write_bytes(ratls.armoured(spki(intel().root.key), "PUBLIC KEY"))
    (bundle,) = intel().endorsements().intel
    (tmp_path / "collateral.json").write_text(json.dumps(members(bundle)))
    (tmp_path / "app.toml").write_text(EXPECTED)
    (tmp_path / "other.toml").write_text(EXPECTED.replace("0001", "ffff"))
    options = ("--at", "2026-06-01", "--endorsement", str(tmp_path / "collateral.json"))
    return [*options, "--unsafe-trust-root", str(tmp_path / "root.pem")]


def probe(context: ssl.SSLContext, *words: str) -> int:
    """Serve once and probe."""
    with serving(context) as server:
        return main(["tls", "probe", f"127.0.0.1:{server.port}", *words])


def test_an_attested_server_of_the_program_is_affirmed(
    trust: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = ["--policy", str(tmp_path / "app.toml")]
    assert probe(server_context(identity()), *trust, *policy, "--fresh", "--explain") == 0
    shown = capsys.readouterr().err
    assert "AFFIRMING" in shown
    for said in ("ok TLS-1", "ok TLS-2", "-- TLS-3", "ok TLS-4", "ok CERTIFICATE-1", "ok BINDING-2"):
        assert said in shown, said


def test_without_a_policy_it_is_a_warning_and_says_what_was_not_checked(
    trust: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(server_context(identity()), *trust) == 3
    shown = " ".join(capsys.readouterr().err.split())
    assert "give --policy" in shown
    assert "names in a certificate that signs itself prove nothing" in shown
    assert "the evidence is as old as the certificate" in shown


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: hostile(own_key()), 2),
        (lambda: hostile(own_key(), genuine(own_key())), 5),
        (lambda: hostile(own_key(), (ratls.DICE, b"\xff")), 2),
    ],
    ids=["no evidence", "another key's", "broken"],
)
def test_what_is_wrong_with_the_evidence_decides_the_code(
    make: Callable[[], ssl.SSLContext], code: int, trust: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Recording(make()) as (url, received):
        assert main(["tls", "probe", url.removeprefix("https://").rstrip("/"), *trust, "--json"]) == code
    assert received == [b""]
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == {2: "malformed", 5: "not authentic"}[code]
    assert document["reason"]


def test_another_program_is_contraindicated(trust: list[str], tmp_path: Path) -> None:
    assert probe(server_context(identity()), *trust, "--policy", str(tmp_path / "other.toml")) == 4


def test_without_collateral_nothing_is_decided(trust: list[str], tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    at = trust.index("--endorsement")
    del trust[at : at + 2]
    assert probe(server_context(identity()), *trust, "--collateral", str(tmp_path / "none")) == 6


def test_hardware_vendors_are_believed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(server_context(identity()), "--at", "2026-06-01") == 5
    shown = capsys.readouterr().err
    assert "not a trust anchor" in shown
    assert "Intel SGX quote v3, in RA-TLS certificate" in shown


def test_freshness_that_is_not_offered_is_refused(trust: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    key = own_key()
    with Recording(hostile(key, genuine(key))) as (url, received):
        assert main(["tls", "probe", url[8:-1], *trust, "--fresh"]) == 5
    assert received == [b""]
    assert "no evidence for this connection" in capsys.readouterr().err


def test_an_expired_certificate_is_refused(trust: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    trust[1] = "2026-06-15"
    assert probe(server_context(identity()), *trust) == 5
    assert "CERTIFICATE-1" in capsys.readouterr().err


def test_a_server_for_attested_clients_can_be_looked_at(trust: list[str]) -> None:
    """In TLS 1.3 a server has shown its evidence before it sees that the client has none."""
    assert probe(server_context(identity(), demands=demands()), *trust) == 3


def test_nobody_there_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["tls", "probe", f"127.0.0.1:{port}"]) == 6
    assert f"no TLS 1.3 connection with 127.0.0.1:{port}: Connection refused" in capsys.readouterr().err


def test_no_tls_is_no_verdict(trust: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert main(["tls", "probe", f"127.0.0.1:{port}", *trust, "--timeout", "0.2"]) == 6


@pytest.mark.parametrize("address", ["", "host", ":1", "host:0", "host:65536", "host:x", "::1:443", "host:²"])
def test_wrong_addresses_are_usage_errors(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tls", "probe", address]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_wrong_timeouts_are_usage_errors(seconds: str) -> None:
    assert main(["tls", "probe", "127.0.0.1:1", f"--timeout={seconds}"]) == 2
