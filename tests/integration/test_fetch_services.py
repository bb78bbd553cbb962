"""Fetching from Intel's and AMD's services, played on loopback: each kind of answer, and the faults of real servers."""

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from tests.forge.intel import FMSPC, IntelForge
from tests.forge.x509 import Authority, ec_key, issue, revocation_list
from tests.services.vendors import Answer, VendorService, members_of_collateral

from cloister._x509 import Certificate, Crl
from cloister.endorse.fetch import Fetcher, NotPublished
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.kds import fetch_amd
from cloister.endorse.needs import AmdRequest, IntelRequest
from cloister.endorse.pcs import fetch_intel
from cloister.errors import EndorsementUnavailable, UsageError
from cloister.evidence.snp import Product, SigningKey
from cloister.model import Tee

TCB = "/sgx/certification/v4/tcb"
CRL = "/sgx/certification/v4/pckcrl"
ROOT = "/sgx/certification/v4/rootcacrl"
ROOT = "/sgx/certification/v4/rootcacrl"
SGX = IntelRequest(tee=Tee.SGX, fmspc=FMSPC.hex(), ca="platform")
EMPTY = b'{"tcbInfo":{},"signature":"00"}'
EMPTY = b'{"tcbInfo":{},"signature":"00"}'
CHIP, LEVELS = bytes(range(64)), bytes([3, 0, 0, 0, 0, 0, 8, 115])
MILAN_KEY = f"/vcek/v1/Milan/{CHIP.hex()}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
GENOA_KEY = MILAN_KEY.replace("Milan", "Genoa")
OLD_REPORT = AmdRequest(products=(Product.MILAN, Product.GENOA), chip_id=CHIP, tcb=LEVELS)


@pytest.fixture(scope="module")
def forge() -> IntelForge:
    return IntelForge()


@pytest.fixture
def service(forge: IntelForge) -> Iterator[VendorService]:
    with VendorService() as made:
        made.publish_bundle(members_of_collateral(forge.collateral()))
        yield made


def patient() -> tuple[Fetcher, list[float]]:
    """A client whose pauses are noted and not waited for."""
    pauses: list[float] = []
    return Fetcher(seconds=10, sleep=pauses.append), pauses


@pytest.mark.parametrize("pccs", [False, True], ids=["Intel's service", "a caching service"])
@pytest.mark.parametrize("tee", [Tee.SGX, Tee.TDX])
def test_a_bundle_comes_byte_for_byte(forge: IntelForge, tee: Tee, *, pccs: bool) -> None:
    sent = forge.collateral(tee)
    with VendorService(pccs=pccs) as service:
        service.publish_bundle(members_of_collateral(sent))
        piece = fetch_intel(Fetcher(), IntelRequest(tee=tee, fmspc=FMSPC.hex(), ca="platform"), url=service.url + "/")
    got = piece.content
    assert isinstance(got, IntelCollateral)
    assert (got.tcb_info, got.tcb_info_signature) == (sent.tcb_info, sent.tcb_info_signature)
    assert (got.qe_identity, got.qe_identity_signature) == (sent.qe_identity, sent.qe_identity_signature)
    assert got.tcb_info_chain == got.qe_identity_chain == sent.tcb_info_chain
    assert {one.encoded for one in got.crls} == {one.encoded for one in sent.crls}
    assert piece.source == got.source == f"{service.url}/{tee}{TCB[4:]}?fmspc={FMSPC.hex().upper()}&update=early"
    assert service.asked[0] == f"/{tee}{TCB[4:]}?fmspc={FMSPC.hex().upper()}&update=early"


def test_last_year_s_requirements_are_asked_for_if_wanted(forge: IntelForge, service: VendorService) -> None:
    old = forge.collateral(tcb_info=forge.tcb_info(tcbEvaluationDataNumber=16))
    service.publish_bundle(members_of_collateral(old), update="standard")
    piece = fetch_intel(Fetcher(), SGX, url=service.url, update="standard")
    assert isinstance(piece.content, IntelCollateral)
    assert piece.content.tcb.evaluation == 16


def test_an_unknown_platform_family_is_named(service: VendorService) -> None:
    unknown = IntelRequest(tee=Tee.SGX, fmspc="00606a000000", ca="platform")
    with pytest.raises(NotPublished, match=r"fmspc=00606A000000.*not found: no SGX platform family has FMSPC 00606a0"):
        fetch_intel(Fetcher(), unknown, url=service.url)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_passing_fault_is_passed_over(service: VendorService, status: int) -> None:
    service.fail(TCB, Answer(status=status), Answer(status=status))
    fetcher, pauses = patient()
    fetch_intel(fetcher, SGX, url=service.url)
    assert len(pauses) == 2
    assert pauses[0] <= 1 <= pauses[1] <= 2
    assert len([path for path in service.asked if path.startswith(TCB)]) == 3


def test_a_lasting_fault_is_given_up(service: VendorService) -> None:
    service.fail(TCB, *[Answer(status=503)] * 9)
    fetcher, _ = patient()
    with pytest.raises(EndorsementUnavailable, match="answered 503, 4 times; it is out of order: try again later"):
        fetch_intel(fetcher, SGX, url=service.url)
    assert len(service.asked) == 4


def test_the_pause_that_a_server_asks_for_is_kept(service: VendorService) -> None:
    service.fail(TCB, Answer(status=429, headers={"Retry-After": "7"}))
    fetcher, pauses = patient()
    fetch_intel(fetcher, SGX, url=service.url)
    assert pauses == [7]


@pytest.mark.parametrize("asked", ["11", "86400", "999999999"])
def test_a_pause_that_is_too_long_is_not_waited_for(service: VendorService, asked: str) -> None:
    service.fail(TCB, Answer(status=429, headers={"Retry-After": asked}))
    fetcher, pauses = patient()
    with pytest.raises(EndorsementUnavailable, match="limits how often it may be asked: try again in some minutes"):
        fetch_intel(fetcher, SGX, url=service.url)
    assert (pauses, len(service.asked)) == ([], 1)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(401, "refuses"), (403, "refuses"), (410, "answered 410"), (400, "answered 400"), (204, "answered 204")],
)
def test_what_will_not_change_is_asked_once(service: VendorService, status: int, meaning: str) -> None:
    service.fail(TCB, Answer(status=status))
    with pytest.raises(EndorsementUnavailable, match=meaning):
        fetch_intel(Fetcher(), SGX, url=service.url)
    assert len(service.asked) == 1


def test_nothing_is_asked_for_twice(service: VendorService) -> None:
    fetcher = Fetcher()
    for _ in range(3):
        fetch_intel(fetcher, SGX, url=service.url)
    assert len(service.asked) == len(set(service.asked)) == 4


def broken(answer: Answer, path: str, service: VendorService) -> None:
    full = next(one for one in service.answers if one.startswith(path))
    service.answers[full] = answer


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        (TCB, Answer(body=b"<html>welcome</html>"), "is not what this service publishes"),
        (TCB, Answer(body=EMPTY), "no certificate chain in its headers"),
        (TCB, Answer(body=EMPTY, headers={"TCB-Info-Issuer-Chain": "%00"}), "no certificate chain"),
        (TCB, Answer(body=b'{"tcbInfo":{},"tcbInfo":{},"signature":"00"}'), "stands twice"),
        (TCB, Answer(body=b'{"tcbInfo":{"a":1},"signature":"00","more":1}'), "is not one signed statement"),
        (TCB, Answer(body=b"\xff\xfe"), "is not what this service publishes"),
        (CRL, Answer(body=b""), "is not what this service publishes"),
        (CRL, Answer(body=b"0" * 64), "is not what this service publishes"),
        (CRL, Answer(body=b"-----BEGIN X509 CRL-----"), "is not what this service publishes"),
        (ROOT, Answer(body=b"\x30\x82\xff\xff"), "is not what this service publishes"),
    ],
    ids=["HTML", "no chain", "an empty chain", "a key twice", "more", "no UTF-8", "nothing", "zeros", "half PEM",
         "half DER"],
)  # fmt: skip
def test_what_does_not_parse_is_refused_by_its_url(
    service: VendorService, path: str, answer: Answer, reason: str
) -> None:
    broken(answer, path, service)
    with pytest.raises(EndorsementUnavailable, match=reason) as caught:
        fetch_intel(Fetcher(), SGX, url=service.url)
    assert f"{service.url}{path}" in str(caught.value)


def test_statements_about_another_platform_are_refused(forge: IntelForge, service: VendorService) -> None:
    other = forge.collateral(tcb_info=forge.tcb_info(fmspc="0123456789ab"))
    service.publish_bundle(members_of_collateral(other))
    mine, theirs = (f"{TCB}?fmspc={one}&update=early" for one in (FMSPC.hex().upper(), "0123456789AB"))
    service.answers[mine] = service.answers[theirs]
    with pytest.raises(EndorsementUnavailable, match="about another platform family"):
        fetch_intel(Fetcher(), SGX, url=service.url)


# ---------------------------------------------------------------- AMD


@pytest.fixture(scope="module")
def amd() -> tuple[Certificate, Certificate, Certificate, Crl]:
    ark = Authority("ARK-Forged")
    ask = Authority("SEV-Forged", ark)
    return issue("SEV-VCEK", ec_key().public_key(), ask), ask.certificate, ark.certificate, revocation_list(ark)


@pytest.fixture
def kds(amd: tuple[Certificate, Certificate, Certificate, Crl]) -> Iterator[VendorService]:
    with VendorService() as made:
        for product in ("Milan", "Genoa"):
            made.publish_product(product, [amd[1], amd[2]], amd[3])
        made.publish_product("Milan", [amd[1], amd[2]], amd[3], kind="vlek")
        yield made


def test_a_chip_s_certificate_comes_with_its_issuers(
    kds: VendorService, amd: tuple[Certificate, Certificate, Certificate, Crl]
) -> None:
    kds.answers[MILAN_KEY] = Answer(body=amd[0].encoded)
    pieces = list(fetch_amd(Fetcher(), OLD_REPORT, url=kds.url))
    assert [one.payload for one in pieces] == [one.encoded for one in amd]
    assert pieces[0].source == kds.url + MILAN_KEY
    assert kds.asked == [MILAN_KEY, "/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"]


def test_a_report_that_does_not_say_its_product_is_tried_as_each(
    kds: VendorService, amd: tuple[Certificate, Certificate, Certificate, Crl]
) -> None:
    kds.answers[GENOA_KEY] = Answer(body=amd[0].encoded)
    assert len(list(fetch_amd(Fetcher(), OLD_REPORT, url=kds.url))) == 4
    assert kds.asked == [MILAN_KEY, GENOA_KEY, "/vcek/v1/Genoa/cert_chain", "/vcek/v1/Genoa/crl"]


def test_a_chip_that_no_product_has_is_an_error(kds: VendorService) -> None:
    with pytest.raises(NotPublished, match=r"Genoa/.*no Genoa chip with this identifier at this TCB; .*--amd-product"):
        list(fetch_amd(Fetcher(), OLD_REPORT, url=kds.url))


def test_certificates_at_hand_are_not_asked_for_again_but_lists_are(kds: VendorService) -> None:
    at_hand = {kds.url + MILAN_KEY, f"{kds.url}/vcek/v1/Milan/cert_chain"}
    (only,) = fetch_amd(Fetcher(), OLD_REPORT, url=kds.url, at_hand=at_hand)
    assert isinstance(only.content, Crl)
    assert kds.asked == ["/vcek/v1/Milan/crl"]


def test_what_came_before_a_failure_is_handed_over(
    kds: VendorService, amd: tuple[Certificate, Certificate, Certificate, Crl]
) -> None:
    kds.answers[MILAN_KEY] = Answer(body=amd[0].encoded)
    kds.fail("/vcek/v1/Milan/cert_chain", Answer(status=429, headers={"Retry-After": "600"}))
    pieces = fetch_amd(Fetcher(), OLD_REPORT, url=kds.url)
    assert next(pieces).payload == amd[0].encoded
    with pytest.raises(EndorsementUnavailable, match="what came before is kept"):
        next(pieces)


def test_a_provider_s_key_has_its_own_issuers(kds: VendorService) -> None:
    request = AmdRequest(products=(Product.MILAN,), kind=SigningKey.VLEK)
    assert len(list(fetch_amd(Fetcher(), request, url=kds.url))) == 3
    assert kds.asked == ["/vlek/v1/Milan/cert_chain", "/vlek/v1/Milan/crl"]


@pytest.mark.parametrize("body", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_a_chain_that_is_none_is_refused(kds: VendorService, body: bytes) -> None:
    kds.answers["/vcek/v1/Milan/cert_chain"] = Answer(body=body)
    with pytest.raises(EndorsementUnavailable, match="something else than what belongs there"):
        list(fetch_amd(Fetcher(), AmdRequest(products=(Product.MILAN,)), url=kds.url))


# ---------------------------------------------------------------- TLS and proxies


class TlsService(VendorService):
    """The same service over https, with a certificate of its own."""

    scheme = "https"

    def __init__(self, directory: Path, *, name: str = "127.0.0.1") -> None:
        super().__init__()
        self.authority = directory / f"{name}.pem"
        self.authority.write_bytes(server_identity(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)


def server_identity(name: str) -> bytes:
    """A self-signed server certificate with its key, in PEM."""
    key, now = ec_key(), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternative = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pkcs8 = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *pkcs8)


def test_a_server_is_believed_by_its_authority(tmp_path: Path) -> None:
    with TlsService(tmp_path) as service:
        service.answers["/x"] = Answer(body=b"y")
        assert Fetcher(authorities=service.authority).get(f"{service.url}/x").body == b"y"


def test_an_unknown_server_is_not_believed(tmp_path: Path) -> None:
    with TlsService(tmp_path) as service:
        with pytest.raises(EndorsementUnavailable, match=r"is not believed .*--authorities FILE"):
            Fetcher().get(f"{service.url}/x")
        assert not service.asked


def test_a_server_of_another_name_is_not_believed(tmp_path: Path) -> None:
    with TlsService(tmp_path, name="pccs.example") as service:
        with pytest.raises(EndorsementUnavailable, match="is not believed"):
            Fetcher(authorities=service.authority).get(f"{service.url}/x")
        assert not service.asked


def test_authorities_must_be_a_file_of_certificates(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(UsageError, match=f"cannot read certificate authorities from .*{name}"):
            Fetcher(authorities=tmp_path / name)


class Tunnel(VendorService):
    """A proxy that connects through (CONNECT), to whatever is asked for."""

    def __init__(self) -> None:
        super().__init__()
        tunnels = self.tunnels = list[str]()

        class Connecting(self.server.RequestHandlerClass):  # type: ignore[misc, name-defined] # made at run time
            def do_CONNECT(self) -> None:  # noqa: N802 - the name that http.server calls
                tunnels.append(self.path)
                host, port = self.path.split(":")
                with socket.create_connection((host, int(port))) as far:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=pump, args=(far, self.connection))
                    back.start()
                    pump(self.connection, far)
                    back.join()

        self.server.RequestHandlerClass = Connecting


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Hand on what comes, until nothing does."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_tunnel_through_a_proxy_carries_tls_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tunnel() as proxy, TlsService(tmp_path) as service:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        service.answers["/x"] = Answer(body=b"y" * 100_000)
        assert Fetcher(authorities=service.authority).get(f"{service.url}/x").body == b"y" * 100_000
        assert proxy.tunnels == [service.url.removeprefix("https://")]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        Fetcher(authorities=service.authority).get(f"{service.url}/x")
        assert len(proxy.tunnels) == 1


def test_the_environment_s_proxy_is_used_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    with VendorService() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(
            EndorsementUnavailable, match=r"pccs\.invalid/x: cannot be reached: Tunnel connection failed: 501"
        ):
            Fetcher().get("https://pccs.invalid/x")


def test_plain_http_to_this_machine_never_goes_through_a_proxy(
    service: VendorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VendorService() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        fetch_intel(Fetcher(), SGX, url=service.url)
        assert not proxy.asked
