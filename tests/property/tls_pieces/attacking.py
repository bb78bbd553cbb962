"""What the attacks on the TLS engine share."""

from tests.property.tls_pieces.engine import Answer, Engine, Event
from tests.property.tls_pieces.identities import known
from tests.property.tls_pieces.peer import HANDSHAKE, BadClient, Direction, plain_record

__all__ = [
    "BAD_CERTIFICATE",
    "BAD_RECORD",
    "DECODE",
    "DECRYPT",
    "HANDSHAKE_FAILURE",
    "ILLEGAL",
    "MISSING",
    "OVERFLOW",
    "REQUIRED",
    "UNEXPECTED",
    "UNSUPPORTED",
    "UNSUPPORTED_CERTIFICATE",
    "VERSION",
    "connected",
    "refused",
    "said_hello",
    "server",
]

UNEXPECTED, BAD_RECORD, OVERFLOW, HANDSHAKE_FAILURE, BAD_CERTIFICATE = 10, 20, 22, 40, 42
UNSUPPORTED_CERTIFICATE, ILLEGAL, DECODE, DECRYPT, VERSION, MISSING, UNSUPPORTED, REQUIRED = (
    43,
    47,
    50,
    51,
    70,
    109,
    110,
    116,
)


def refused(answer: Answer, alert: int) -> None:
    """It has ended by its own alert, and says so."""
    assert (answer.event, answer.alert, answer.from_peer, answer.data) == (Event.BROKEN, alert, False, b"")
    assert answer.sent


def server(engine: Engine, **more: object) -> Engine:
    engine.start(server=True, own=known("p256").identity, **more)  # type: ignore[arg-type]
    return engine


def said_hello(engine: Engine, **more: object) -> BadClient:
    """A client that knows the server's whole flight."""
    client = BadClient()
    client.take(server(engine, **more).feed(plain_record(HANDSHAKE, client.hello())).sent)
    return client


def connected(engine: Engine) -> tuple[Direction, Direction]:
    client = said_hello(engine)
    assert engine.feed(client.finish()).connected
    return client.connected()
