"""Targets of what hosts, brokers and strangers hand to the carrier and to the owner's tools."""

import http.client
import io
import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from tests.forge.x509 import Authority
from tests.fuzz import fixed
from tests.fuzz.law import Broken, Reader
from tests.fuzz.targets_broker import directory, json_value

from cloister._x509 import Certificate
from cloister.app.flow.page import draw_page
from cloister.app.flow.record import read_flow
from cloister.app.flow.text import draw_text
from cloister.app.measuring import Seen
from cloister.appraise.vector import Tier
from cloister.attest.broker_client import Challenge, Provider, Server, sealed_of
from cloister.attest.frames import HEAD, Frame, Hangup, Hello, Kind, Statement, receive, report_data_of
from cloister.attest.host_key import FileHostKey
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    CannotEnclave,
    CloisterError,
    Denied,
    NotAttested,
    NotFresh,
    ParseError,
    Undecided,
    UsageError,
)
from cloister.measure import image as measure_image
from cloister.measure.guest import BootParameters, GuestLayout
from cloister.measure.image import read_image
from cloister.measure.ovmf import parse_firmware
from cloister.measure.software import Manifest, read_measurement, write_measurement
from cloister.model import Unchecked
from cloister.seal import SealedHeader
from cloister.seal.counter import FileCounter
from cloister.seal.platform_file import FilePlatformKey
from cloister.seal.refusal import SealBroken, SealedForAnother
from cloister.serve.admin_client import AdminClient
from cloister.tls.demands import Demands, demand
from cloister.tls.freshness import Exchange, Terms, steps
from cloister.tls.gate import Gate
from cloister.tls.messages import certificates_in
from cloister.tls.refusal import PeerRefused

__all__ = ["OWNER"]

SECONDS: Final = 10.0
LITTLE: Final = 16 << 20
"""Bytes that an image may want at its start."""


# ---------------------------------------------------------------- the carrier


def socket_of(data: bytes) -> tuple[socket.socket, socket.socket]:
    """The end that a reader has, and the other, which has said all this and says no more."""
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    far.sendall(data)
    far.shutdown(socket.SHUT_WR)
    return near, far


def frames(data: bytes) -> tuple[Frame, ...]:
    """All frames of a conversation, each read as what it is."""
    near, far = socket_of(data)
    found: list[Frame] = []
    with near, far:
        try:
            while True:
                found.append(receive(near, SECONDS))
                meaning(found[-1])
        except Hangup:
            return tuple(found)


def meaning(frame: Frame) -> None:
    """What the carrier makes of a frame."""
    if frame.kind is Kind.HELLO:
        Hello.parse(frame.body)
    elif frame.kind in {Kind.STATEMENT, Kind.REFRESH}:
        said = Statement.parse(frame.body)
        if sum(map(len, (*said.measured, said.key))) != len(frame.body) or len(report_data_of("x", said)) != 64:
            raise Broken("STATEMENT: not all of it was read")


def sent(found: tuple[Frame, ...]) -> bytes:
    """The conversation again."""
    return b"".join(HEAD.pack(one.kind, len(one.body)) + one.body for one in found)


class Prepared(http.client.HTTPConnection):
    """A connection to a server that has said everything already."""

    def __init__(self, data: bytes) -> None:
        super().__init__("broker", timeout=SECONDS)
        self.data = data
        self.far: socket.socket | None = None

    def connect(self) -> None:
        """There is the answer."""
        self.sock, self.far = socket_of(self.data)

    def close(self) -> None:
        """Both ends."""
        super().close()
        if self.far is not None:
            self.far.close()


class Saying(Server):
    """A server of whose answers every byte is given."""

    def _connection(self) -> http.client.HTTPConnection:
        return Prepared(next_answer())


ANSWERS: Final[list[bytes]] = []
"""What is left to say; the last is said again."""
BETWEEN: Final = b"\n--\n"
"""Separates the answers of a server in one input."""


def next_answer() -> bytes:
    """What the server says now."""
    return ANSWERS.pop(0) if len(ANSWERS) > 1 else ANSWERS[0]


STATEMENT: Final = Statement(b"p" * 32, b"l" * 32, b"k" * 32)


@cache
def provider() -> Provider:
    """Asks that server."""
    return Provider(broker=Saying(role="broker", url="http://broker:1", seconds=SECONDS), session="a/b")


def answered(data: bytes) -> object:
    """The answers to who asks for a challenge, then to who attests and fetches. The last counts."""
    ANSWERS[:] = data.split(BETWEEN)
    try:
        found = provider().challenge()
        found.nonce.encode("ascii")
    except CloisterError as error:
        str(error).encode()
    ANSWERS[:] = data.split(BETWEEN)
    return provider().provision(Challenge("AAAA", "kbs-session-id=x"), STATEMENT, b"evidence")


class Owners(AdminClient):
    """The owner's client of that server."""

    def _connection(self) -> http.client.HTTPConnection:
        return Prepared(next_answer())


def administered(data: bytes) -> object:
    """The answer to the owner's requests, plain and signed."""
    ANSWERS[:] = data.split(BETWEEN)
    plain, signing = (Owners(url="http://broker:1", token="x", key=key) for key in (None, fixed.OWNER))
    try:
        signing.session("a/b")
    except CloisterError as error:
        str(error).encode()
    plain.sessions()
    return plain.versions("a/b/c")


# ---------------------------------------------------------------- files


def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """For readers of files that are their owner's alone."""

    def reading(data: bytes) -> Any:
        path = directory() / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return read(path)

    return reading


def platform_key(path: Path) -> bytes:
    """A key that has been there."""
    with FilePlatformKey(path, make=False) as key:
        return key.name.encode()


def counter(path: Path) -> int:
    """A counter, one step on."""
    found = FileCounter(path)
    value = found.read()
    found.advance_to(value + 1)
    return value


def unsealed(data: bytes) -> bytearray:
    """Sealed data of a program, by whose key everybody can seal."""
    return fixed.sealer().unseal(data, label=fixed.LABEL)


def measured(data: bytes) -> Any:
    """A manifest in TOML, written again; and what the runtime gets of it."""
    found = read_measurement(data.decode("utf-8", "replace"), "x")
    if Manifest.parse(found.manifest.serialize()) != found.manifest:
        raise Broken("Manifest: what is written reads as something else")
    found.measurement.hex()
    return found


def flow(data: bytes) -> Any:
    """A record, drawn."""
    found = read_flow(data)
    draw_text(found, explain=True).encode()
    draw_page(found).encode()
    return found


def image(data: bytes) -> None:
    """An ELF image, and the guest that it makes. Time goes with the memory that it wants, so it gets little here."""
    with patch.object(measure_image, "LARGEST", LITTLE):
        found = read_image(data, "x")
    try:
        layout = GuestLayout.of(found)
    except CannotEnclave as error:
        str(error).encode()
    else:
        if BootParameters.parse(layout.parameters.serialize()) != layout.parameters:
            raise Broken("BootParameters: what is written reads as something else")


# ---------------------------------------------------------------- the other end of a connection


@cache
def demands() -> Demands:
    """Anything that is authentic under anchors that nobody has."""
    return demand(
        Unchecked("x"), anchors=TrustAnchors(()), endorsements=Endorsements(), accept=frozenset(Tier), fresh=True,
        clock=lambda: fixed.AT,
    )  # fmt: skip


def shown(data: bytes) -> PeerRefused | None:
    """A Certificate message at the gate, which raises nothing and foresees everything."""
    gate = Gate(demands(), lambda _: None)
    gate.receive(data)
    if gate.refusal is not None:
        if "could not be handled" in str(gate.refusal):
            raise Broken(str(gate.refusal))
        str(gate.refusal).encode()
    return gate.refusal


def exchange(data: bytes) -> None:
    """What the peer says of its freshness, to a client and to a server."""
    peer = Certificate.parse(certificate())
    for role in ("client", "server"):
        place = io.BytesIO(data)
        terms = Terms(role=role, demands=demands(), identity=None, own=None, peer=peer, finished=b"f" * 32)
        try:
            Exchange(steps(terms)).advance(place.read, len)
        except (ParseError, NotFresh, NotAttested, PeerRefused, CloisterError) as error:
            str(error).encode()


@cache
def certificate() -> bytes:
    """Of a peer."""
    return Authority("a peer").certificate.encoded


OWNER: Final[dict[str, tuple[Reader, ...]]] = {
    "frames": (
        Reader(
            covers=("attest.frames.receive", "attest.frames.Hello.parse", "attest.frames.Statement.parse"),
            read=frames, write=sent,
        ),
    ),
    "answers": (
        Reader(
            covers=("attest.broker_client.sealed_of",),
            read=json_value(lambda value: sealed_of(value) if isinstance(value, dict) else None),
            refusals=(ParseError, Undecided),
        ),
        Reader(
            covers=("attest.broker_client.Provider",), read=answered, refusals=(Undecided, Denied, CloisterError)
        ),
        Reader(covers=("serve.admin_client.AdminClient",), read=administered, refusals=(CloisterError,)),
    ),
    "sealed": (
        Reader(
            covers=("seal.header.SealedHeader.parse",), read=SealedHeader.parse, write=lambda header: header.encoded
        ),
        Reader(
            covers=("seal.sealer.Sealer.unseal", "seal.sealer.read_header"), read=unsealed,
            refusals=(ParseError, SealedForAnother, SealBroken),
        ),
        Reader(
            covers=("seal.platform_file.FilePlatformKey",), read=in_file("platform.key", platform_key),
            refusals=(UsageError,),
        ),
        Reader(covers=("seal.counter.FileCounter",), read=in_file("counter", counter), refusals=(UsageError,)),
        Reader(
            covers=("attest.host_key.FileHostKey",), refusals=(UsageError,),
            read=in_file("host.pem", lambda path: FileHostKey(path, make=False).public_pem()),
        ),
    ),
    "manifest": (
        Reader(covers=("measure.software.Manifest.parse",), read=Manifest.parse, write=Manifest.serialize),
        Reader(
            covers=("measure.software.read_measurement",), read=measured, refusals=(UsageError,), exact=False,
            write=lambda found: write_measurement(found).encode(),
        ),
        Reader(covers=("app.measuring.Seen.parse",), read=Seen.parse, refusals=()),
    ),
    "image": (
        Reader(covers=("measure.image.read_image",), read=image, refusals=(CannotEnclave,)),
        Reader(covers=("measure.ovmf.parse_firmware",), read=parse_firmware),
        Reader(
            covers=("measure.guest.BootParameters.parse",), read=BootParameters.parse, write=BootParameters.serialize
        ),
    ),
    "flow": (Reader(covers=("app.flow.record.read_flow",), read=flow),),
    "tls": (
        Reader(covers=("tls.messages.certificates_in",), read=certificates_in),
        Reader(covers=("tls.gate.Gate.receive",), read=shown, refusals=()),
        Reader(covers=("tls.freshness.steps",), read=exchange, refusals=()),
    ),
}  # fmt: skip
"""Name of a target to its readers."""
