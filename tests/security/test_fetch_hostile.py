"""A hostile server, or somebody in the middle, cannot hang, exhaust, redirect or poison who fetches from it.

For every attack: it ends in the given seconds, in little memory, as EndorsementUnavailable; the cache stays as it was.
"""

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.forge.intel import FMSPC, IntelForge
from tests.services.command import collateral
from tests.services.hostile import Hostile
from tests.services.vendors import Answer, VendorService, members_of_collateral

from cloister.endorse.fetch import LARGEST, Fetcher
from cloister.endorse.kds import fetch_amd
from cloister.endorse.needs import AmdRequest, IntelRequest
from cloister.endorse.pcs import fetch_intel
from cloister.errors import EndorsementUnavailable, UsageError
from cloister.evidence.snp import Product
from cloister.model import Tee

SECONDS = 1.0
SLACK = 1.5
"""A machine that is busy with other tests is slow; an attack that works takes for ever."""
MEMORY = 3 * LARGEST
OK = b"HTTP/1.1 200 OK\r\n"
BLOCK = b"A" * 65_536


def endless(start: bytes, block: bytes = BLOCK) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(block)

    return behave


def slowly(start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """A little now and then, always before a timeout of each read would end."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return behave


def once(answer: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(answer)


def silent(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side goes


ATTACKS = {
    "an endless body of unknown length": endless(OK + b"\r\n"),
    "an endless body in chunks": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + BLOCK + b"\r\n"),
    "an announced body of a terabyte": endless(OK + b"Content-Length: 1099511627776\r\n\r\n"),
    "a chunk of a terabyte": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n10000000000\r\n"),
    "an endless chunk size": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "endless trailers": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 1000),
    "an endless status line": endless(b"HTTP/1.1 200 "),
    "an endless header": endless(OK + b"X: "),
    "endless headers": endless(OK, b"X: y\r\n" * 1000),
    "an endless series of interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a chain of 10 MB in one header": once(OK + b"TCB-Info-Issuer-Chain: " + b"%2D" * 3_500_000 + b"\r\n\r\n{}"),
    "a chain of 10 MB in many headers": once(OK + (b"X: " + b"A" * 60_000 + b"\r\n") * 170 + b"\r\n{}"),
    "a slow status line": slowly(b"", b"H"),
    "slow headers": slowly(OK, b"X: y\r\n"),
    "a slow body": slowly(OK + b"\r\n", b"A"),
    "slow chunks": slowly(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nA\r\n"),
    "silence": silent,
    "a compressed answer": once(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(50_000_000), 9)),
    "no HTTP at all": once(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    "an answer that ends too soon": once(OK + b"Content-Length: 100\r\n\r\nshort"),
    "a chunk that ends too soon": once(OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort"),
    "a negative length": once(OK + b"Content-Length: -1\r\n\r\n"),
    "an immediate end": once(b""),
    "a redirect to a file": once(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
    "a status that is no number": once(b"HTTP/1.1 OK\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("behave", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_hostile_server_is_left_in_bounded_time_and_memory(behave: Callable[[socket.socket], None]) -> None:
    with Hostile(behave) as server:
        fetcher = Fetcher(seconds=SECONDS)
        start = time.monotonic()
        tracemalloc.start()
        try:
            with pytest.raises(EndorsementUnavailable, match=server.url):
                fetcher.get(f"{server.url}/x")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert time.monotonic() - start < SECONDS + SLACK
    assert peak < MEMORY
    assert server.connections == 1


@pytest.mark.parametrize(
    "behave", [ATTACKS["slow headers"], ATTACKS["a slow body"], silent], ids=["head", "body", "none"]
)
def test_the_deadline_is_kept_to_the_second(behave: Callable[[socket.socket], None]) -> None:
    with Hostile(behave) as server:
        start = time.monotonic()
        with pytest.raises(EndorsementUnavailable, match=r"no complete answer within 1 seconds|timed out"):
            Fetcher(seconds=SECONDS).get(f"{server.url}/x")
        assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + SLACK


def test_a_server_that_never_begins_tls_is_left_too() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    start = time.monotonic()
    with listener, pytest.raises(EndorsementUnavailable):
        Fetcher(seconds=SECONDS).get(f"https://127.0.0.1:{listener.getsockname()[1]}/x")
    assert time.monotonic() - start < 2 * SECONDS + SLACK


def test_faults_without_end_do_not_prolong_the_deadline() -> None:
    with VendorService() as service:
        service.fail("/x", *[Answer(status=503, headers={"Retry-After": "0"})] * 1000)
        with pytest.raises(EndorsementUnavailable, match="answered 503, 4 times"):
            Fetcher(seconds=SECONDS).get(f"{service.url}/x")
        assert len(service.asked) == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https", "file", "ftp"])
def test_no_redirect_is_followed(status: int, scheme: str) -> None:
    with VendorService() as elsewhere, VendorService() as service:
        elsewhere.answers["/y"] = Answer(body=b"{}")
        target = f"{elsewhere.url}/y".replace("http", scheme, 1)
        service.answers["/x"] = Answer(status=status, headers={"Location": target})
        with pytest.raises(EndorsementUnavailable, match="sends elsewhere"):
            Fetcher().get(f"{service.url}/x")
        assert not elsewhere.asked


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x", "file:///etc/passwd", "ftp://example.com/x", "data:text/plain,x", "https:///x", "x", "",
        "https://user:word@example.com/x", "https://exa mple.com/x", "https://example.com/x\r\nHost: y",
        "https://example.com:port/x", "https://[::1/x", "http://127.0.0.1.example.com/x", "http://localhost.example/x",
        "http://2130706433/x", "http://0.0.0.0/x", "https://example.com/x#y", "https://ex\u0430mple.com/x",
        "unix:///run/docker.sock", "http://169.254.169.254/latest/meta-data",
    ],
)  # fmt: skip
def test_no_other_kind_of_url_is_ever_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    with pytest.raises(UsageError):
        Fetcher().get(url)


def test_a_name_with_very_many_addresses_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    dead.close()
    one = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [one] * 100_000)
    start = time.monotonic()
    with pytest.raises(EndorsementUnavailable, match="refused"):
        Fetcher(seconds=SECONDS).get("https://example.com/x")
    assert time.monotonic() - start < SLACK


# ---------------------------------------------------------------- what is served, and the cache


PEM_BLOCK = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
BOMBS = {
    "very many PEM blocks": PEM_BLOCK * 100_000,
    "very many PEM beginnings": b"-----BEGIN CERTIFICATE-----\n" * 250_000,
    "one enormous PEM block": b"-----BEGIN CERTIFICATE-----\n" + b"A" * 8_000_000 + b"\n-----END CERTIFICATE-----\n",
    "deep JSON": b'{"tcbInfo":' + b"[" * 4_000_000,
    "deep DER": b"\x30\x80" * 2_000_000,
    "DER that claims four gigabytes": b"\x30\x84\xff\xff\xff\xff" + bytes(1000),
    "a number without end": b'{"tcbInfo":{"version":' + b"9" * 4_000_000 + b'},"signature":""}',
    "zeros": bytes(4_000_000),
}


@pytest.fixture(scope="module")
def forge() -> IntelForge:
    return IntelForge()


@pytest.fixture
def cache(forge: IntelForge, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A cache with one bundle in it, which must be the same afterwards."""
    directory = tmp_path / "cache"
    with VendorService() as service:
        service.publish_bundle(members_of_collateral(forge.collateral(Tee.TDX)))
        words = ["fetch", "--intel-fmspc", FMSPC.hex(), "--tee", "tdx", "--url", service.url, "--cache", directory]
        assert collateral(capsys, *words).code == 6  # the processor CA's list is not published here
    before = content_of(directory)
    assert len(before) == 1
    yield directory
    assert content_of(directory) == before


def content_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize(
    "words", [["--intel-fmspc", FMSPC.hex()], ["--amd-product", "Milan"]], ids=["as Intel's", "as AMD's"]
)
def test_a_bomb_is_refused_and_the_cache_unchanged(
    cache: Path, words: list[str], bomb: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bomber(VendorService):
        def answer(self, path: str) -> Answer:
            del path
            return Answer(body=bomb)

    with Bomber() as service:
        start = time.monotonic()
        ran = collateral(capsys, "fetch", *words, "--url", service.url, "--cache", cache)
    assert ran.code == 6
    assert service.url in ran.err
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("behave", [ATTACKS["an endless body of unknown length"], ATTACKS["a redirect to a file"]])
def test_an_attack_leaves_the_cache_unchanged(
    cache: Path, behave: Callable[[socket.socket], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Hostile(behave) as server:
        for words in (["--intel-fmspc", FMSPC.hex()], ["--amd-product", "Milan"]):
            ran = collateral(capsys, "fetch", *words, "--url", server.url, "--cache", cache, "--timeout", "1")
            assert ran.code == 6


def test_a_chain_bomb_in_a_header_is_refused(forge: IntelForge) -> None:
    with VendorService() as service:
        service.publish_bundle(members_of_collateral(forge.collateral()))
        path = next(one for one in service.answers if one.startswith("/sgx/certification/v4/tcb"))
        beginnings = {"TCB-Info-Issuer-Chain": "-----BEGIN CERTIFICATE-----%0A" * 2000}
        service.answers[path] = Answer(body=service.answers[path].body, headers=beginnings)
        with pytest.raises(EndorsementUnavailable, match="no certificate chain in its headers"):
            fetch_intel(Fetcher(), IntelRequest(tee=Tee.SGX, fmspc=FMSPC.hex(), ca="platform"), url=service.url)


def test_every_bit_of_a_served_certificate_may_be_wrong(forge: IntelForge) -> None:
    """Whatever is served, the client gets a piece or EndorsementUnavailable, never something else."""
    original = forge.pck.encoded
    with VendorService() as service:
        service.publish_product("Milan", [forge.pck], forge.collateral().crls[0])
        for at in range(0, len(original), 11):
            damaged = original[:at] + bytes([original[at] ^ 0x80]) + original[at + 1 :]
            chain = b"-----BEGIN CERTIFICATE-----\n" + base64_of(damaged) + b"\n-----END CERTIFICATE-----\n"
            service.answers["/vcek/v1/Milan/cert_chain"] = Answer(body=chain)
            try:
                list(fetch_amd(Fetcher(), AmdRequest(products=(Product.MILAN,)), url=service.url))
            except EndorsementUnavailable:
                continue


def base64_of(data: bytes) -> bytes:
    import base64  # noqa: PLC0415 - only here

    return base64.b64encode(data)


def test_the_client_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Hostile(silent) as server, pytest.raises(EndorsementUnavailable):
        Fetcher(seconds=0.2).get(f"{server.url}/x")
    assert threading.active_count() == before
