"""Attested TLS with the libraries that people use: ssl, asyncio, urllib, httpx, uvicorn; certificates of others."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.forge import ratls
from tests.forge.x509 import spki
from tests.services.attested_http import Application, serving
from tests.services.attested_tls import (
    Recording,
    converse,
    credentials,
    demands,
    genuine,
    hostile,
    identity,
    naive,
    own_key,
    quote,
    refusal,
)

from cloister.appraise.vector import Tier
from cloister.errors import BindingInvalid, ParseError
from cloister.tls import PeerRefused, client_context, peer_of, refusal_in, server_context

SECONDS = 20.0


@pytest.fixture(scope="module")
def open_server() -> Iterator[Application]:
    """Attested, and open to everybody."""
    with serving(server_context(identity())) as application:
        yield application


@pytest.fixture(scope="module")
def mutual_server() -> Iterator[Application]:
    """Attested, for attested clients only."""
    with serving(server_context(identity(), demands=demands())) as application:
        yield application


# ---------------------------------------------------------------- httpx and uvicorn


@pytest.mark.parametrize("fresh", [False, True])
def test_httpx_verifies_a_uvicorn_server(open_server: Application, fresh: bool) -> None:  # noqa: FBT001 - a table
    with httpx.Client(verify=client_context(demands(fresh=fresh))) as client:
        answers = [client.post(open_server.url, content=b"hello").text for _ in range(2)]
    assert answers == ["anybody", "anybody"]


@pytest.mark.parametrize("fresh", [False, True])
def test_httpx_does_so_asynchronously(open_server: Application, fresh: bool) -> None:  # noqa: FBT001 - a table
    async def ask() -> str:
        async with httpx.AsyncClient(verify=client_context(demands(fresh=fresh))) as client:
            return (await client.post(open_server.url, content=b"hello")).text

    assert asyncio.run(ask()) == "anybody"


@pytest.mark.parametrize("fresh", [False, True])
def test_both_ends_attest(fresh: bool) -> None:  # noqa: FBT001 - a table
    mine = client_context(demands(fresh=fresh), identity=identity())
    theirs = server_context(identity(), demands=demands(fresh=fresh))
    with serving(theirs) as server, httpx.Client(verify=mine) as client:
        assert client.get(server.url).text == "affirming"
    (peer,) = server.peers
    assert peer is not None
    assert (peer.fresh is not None) is fresh


def test_uvloop_checks_as_asyncio_does() -> None:
    context = server_context(identity(), demands=demands(fresh=True))
    with serving(context, loop="uvloop") as server:
        with httpx.Client(verify=client_context(demands(fresh=True), identity=identity())) as client:
            assert client.get(server.url).text == "affirming"
        with httpx.Client(verify=hostile_client(own_key(), [])) as client, pytest.raises(httpx.TransportError):
            client.get(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize("attested", ["nobody", "without evidence", "another key's"])
def test_the_application_never_hears_an_unattested_client(mutual_server: Application, attested: str) -> None:
    before, key = len(mutual_server.requests), own_key()
    context = naive(server=False)
    if attested != "nobody":
        extensions = [] if attested == "without evidence" else [genuine(own_key())]
        context = hostile_client(key, extensions)
    with httpx.Client(verify=context) as client, pytest.raises(httpx.TransportError):
        client.post(mutual_server.url, content=b"secret")
    assert len(mutual_server.requests) == before
    with httpx.Client(verify=client_context(demands(), identity=identity())) as client:
        assert client.post(mutual_server.url, content=b"attested").text == "affirming", "the control"
    assert mutual_server.requests[before:] == [b"attested"]


def hostile_client(key: ratls.Key, extensions: list[tuple[str, bytes]]) -> ssl.SSLContext:
    return naive(server=False, shows=credentials(key, ratls.certificate(key, extensions)))


def test_uvicorn_s_owner_is_told_why() -> None:
    told: list[PeerRefused] = []
    context = server_context(identity(), demands=demands(), report=told.append)
    client = httpx.Client(verify=hostile_client(own_key(), []))
    with client, serving(context) as server, pytest.raises(httpx.TransportError):
        client.get(server.url)
    assert [type(one.error) for one in told] == [ParseError]


def asynchronously(context: ssl.SSLContext, url: str) -> None:
    async def post() -> None:
        async with httpx.AsyncClient(verify=context) as client:
            await client.post(url, content=b"secret")

    asyncio.run(post())


def synchronously(context: ssl.SSLContext, url: str) -> None:
    with httpx.Client(verify=context) as client:
        client.post(url, content=b"secret")


def by_urllib(context: ssl.SSLContext, url: str) -> None:
    with urllib.request.urlopen(url, data=b"secret", context=context, timeout=SECONDS):  # noqa: S310 - https, on loopback
        pass


def by_streams(context: ssl.SSLContext, url: str) -> None:
    async def talk() -> None:
        address = httpx.URL(url)
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        await reader.read()
        writer.close()
        await writer.wait_closed()

    asyncio.run(talk())


WAYS = [synchronously, asynchronously, by_urllib, by_streams]


@pytest.mark.parametrize("way", WAYS)
def test_every_library_sends_a_request_to_an_attested_server(
    open_server: Application, way: Callable[[ssl.SSLContext, str], None]
) -> None:
    before = len(open_server.requests)
    way(client_context(demands()), open_server.url)
    assert open_server.requests[before:] == [b"secret"]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_no_library_sends_a_request_to_another(way: Callable[[ssl.SSLContext, str], None], fresh: bool) -> None:  # noqa: FBT001 - a table
    """The server shows evidence of another key. What it decrypts of the client is nothing; why, the exception says."""
    server = Recording(hostile(own_key(), genuine(own_key())))
    with server as (url, received), pytest.raises((OSError, httpx.TransportError)) as raised:
        way(client_context(demands(fresh=fresh)), url)
    found = refusal_in(raised.value)
    assert found is not None
    assert isinstance(found.error, BindingInvalid)
    assert received == [b""]


def test_the_uvicorn_protocol_serves_attested_connections_only() -> None:
    """A context of somebody else's, by mistake: nothing is served, and not as if nobody had been asked for."""
    key = own_key()
    with serving(hostile(key, genuine(key))) as server:
        with httpx.Client(verify=naive(server=False)) as client, pytest.raises(httpx.TransportError):
            client.get(server.url)
        assert server.requests == []


# ---------------------------------------------------------------- ssl and asyncio servers


def test_a_listening_socket_checks_whom_it_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        context = server_context(identity(), demands=demands())
        with context.wrap_socket(plain, server_side=True) as listening:
            accepted: list[str] = []
            thread = threading.Thread(target=accept, args=(listening, accepted))
            thread.start()
            for mine in (client_context(demands(), identity=identity()), naive(server=False)):
                knock(mine, plain_address(listening))
            thread.join(SECONDS)
    assert accepted == ["affirming", "PeerRefused"]


def plain_address(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()
    return str(host), int(port)


def accept(listening: ssl.SSLSocket, accepted: list[str]) -> None:
    for _ in range(2):
        try:
            connection, _ = listening.accept()
        except OSError as error:
            accepted.append(type(error).__name__)
            continue
        with connection:
            peer = peer_of(connection)
            accepted.append("nobody" if peer is None else str(peer.verdict.status))


def knock(context: ssl.SSLContext, address: tuple[str, int]) -> None:
    with socket.create_connection(address, SECONDS) as plain:
        try:
            with context.wrap_socket(plain) as tls:
                tls.recv(1)
        except OSError:
            return


def test_asyncio_streams_on_both_ends() -> None:
    async def talk() -> tuple[bytes, Tier]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(
            answer, "127.0.0.1", 0, ssl=server_context(identity(), demands=demands(fresh=True))
        )
        context = client_context(demands(fresh=True), identity=identity())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context)
        peer = peer_of(writer.get_extra_info("ssl_object"))
        writer.write(b"a line\n")
        said = await reader.readline()
        writer.close()
        server.close()
        assert peer is not None
        return said, peer.verdict.status

    assert asyncio.run(talk()) == (b"a line\n", Tier.AFFIRMING)


# ---------------------------------------------------------------- certificates of other implementations


FORMS: dict[str, Callable[[ratls.Key], tuple[str, bytes]]] = {
    "interoperable": genuine,
    "Gramine": lambda key: (ratls.GRAMINE, quote(ratls.report_data(spki(key)))),
    "Intel": lambda key: (ratls.INTEL, quote(ratls.report_data(spki(key)))),
    "rats-tls": lambda key: (ratls.RATS_TLS, quote(ratls.report_data(ratls.bare(key)))),
    "Open Enclave report": lambda key: (
        ratls.OE_REPORT,
        ratls.oe_report(quote(ratls.report_data(ratls.pem_key(key)))),
    ),
    "Open Enclave evidence": lambda key: (
        ratls.OE_EVIDENCE,
        ratls.oe_evidence(quote(ratls.report_data(ratls.pem_key(key)))),
    ),
    "EGo": lambda key: (ratls.OE_REPORT, ratls.oe_report(quote(ratls.report_data(spki(key))))),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [own_key, ratls.fresh_key])
def test_certificates_of_other_implementations_are_read(form: str, make: Callable[[], ratls.Key]) -> None:
    key = make()
    client, served = converse(client_context(demands()), hostile(key, FORMS[form](key)))
    assert (client.error, served.received) == (None, b"request")
    assert client.peer is not None
    assert client.peer.verdict.status is Tier.AFFIRMING


@pytest.mark.needs_program("openssl")
def test_openssl_gets_no_ticket_and_an_older_version_gets_nothing(open_server: Application) -> None:
    found = openssl(open_server, "-tls1_3")
    assert "New, TLSv1.3" in found
    assert "Session-ID:" not in found.replace("Session-ID: \n", "")
    assert "Early data was not sent" in found
    assert "New, (NONE)" in openssl(open_server, "-tls1_2")


def openssl(server: Application, version: str) -> str:
    program = shutil.which("openssl")
    assert program is not None
    done = subprocess.run(
        [program, "s_client", "-connect", f"127.0.0.1:{server.port}", version],
        input="", capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout


def test_an_ordinary_client_without_a_verifier_can_still_connect(open_server: Application) -> None:
    """Attested TLS is TLS: who does not verify gets a self-signed certificate, and no assurance."""
    with httpx.Client(verify=naive(server=False)) as client:
        assert client.get(open_server.url).text == "anybody"


def test_a_client_that_demands_evidence_refuses_an_ordinary_server() -> None:
    client, _ = converse(client_context(demands()), hostile(own_key()))
    refusal(client, ParseError)
