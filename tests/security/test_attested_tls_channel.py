"""Attacks on what stands under attested TLS: old versions, resumed sessions, a gate that is missing or broken."""

import ssl

import pytest
from tests.forge.x509 import NOW, YEAR
from tests.services.attested_tls import (
    converse,
    demands,
    genuine,
    hostile,
    identity,
    naive,
    own_key,
    refusal,
)

from cloister.errors import (
    EndorsementUnavailable,
    NotAttested,
)
from cloister.tls import client_context, server_context
from cloister.tls import context as contexts
from cloister.tls.demands import Demands


@pytest.mark.parametrize("client_is_old", [False, True])
def test_older_versions_are_refused(client_is_old: bool) -> None:  # noqa: FBT001 - a table
    key = own_key()
    old = hostile(key, genuine(key)) if not client_is_old else naive(server=False)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    pair = (old, server_context(identity())) if client_is_old else (client_context(demands()), old)
    client, served = converse(*pair)
    assert isinstance(client.error, ssl.SSLError)
    assert (client.received, served.received) == (b"", b"")


def test_no_tickets_are_given_out() -> None:
    context, server = naive(server=False), server_context(identity(), demands=None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    client, _ = converse(context, server)
    assert client.error is None
    assert client.session is None or not client.session.has_ticket


def test_the_control_a_common_server_gives_tickets() -> None:
    key = own_key()
    client, _ = converse(naive(server=False), hostile(key))
    assert client.session is not None
    assert client.session.has_ticket


def test_a_session_cannot_skip_the_check() -> None:
    """A server that gives tickets gets a full handshake each time, with its certificate looked at."""
    key = own_key()
    server, client = hostile(key, genuine(key)), client_context(demands())
    first, _ = converse(client, server)
    assert first.error is None
    assert first.session is not None
    with pytest.raises(ValueError, match="resumes no sessions"):
        client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), session=first.session)
    again = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    with pytest.raises(ValueError, match="resumes no sessions"):
        again.session = first.session
    assert converse(client, server)[0].resumed is False


def test_renegotiation_and_early_data_are_off() -> None:
    for context in (client_context(demands()), server_context(identity())):
        made = context._context(context.protocol == ssl.PROTOCOL_TLS_SERVER, None)  # type: ignore[attr-defined]
        assert (made.minimum_version, made.maximum_version) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
        assert made.options & ssl.OP_NO_RENEGOTIATION
        assert made.options & ssl.OP_NO_TICKET
        assert made.protocol == ssl.PROTOCOL_TLS_CLIENT or made.num_tickets == 0


def test_without_the_gate_everybody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that no longer calls back must lead to refusal, not to trust."""
    monkeypatch.setattr(contexts, "watch", lambda *_: None)
    client, served = converse(client_context(demands()), server_context(identity()))
    assert isinstance(client.error, ssl.SSLError)
    assert served.received == b""


def test_a_verifier_that_breaks_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Demands, "appraise", broken)
    client, served = converse(client_context(demands()), server_context(identity()))
    assert "ZeroDivisionError" in str(refusal(client, None))
    assert served.received == b""


def test_a_trusted_certificate_is_trusted_on_one_connection_only() -> None:
    """What one connection found good does not help the next: the platform may have been withdrawn in between."""
    times = [NOW]
    client, server = client_context(demands(clock=lambda: times[0])), server_context(identity(lifetime=5 * YEAR))
    assert converse(client, server)[0].error is None
    times[0] = NOW + YEAR
    refusal(converse(client, server)[0], EndorsementUnavailable)


def test_listening_sockets_check_each_connection() -> None:
    """`accept()` of a wrapped listening socket must not share what one client has proved with the next."""
    context = server_context(identity(), demands=demands())
    made = context._context(True, None)  # type: ignore[attr-defined] # noqa: FBT003 - server_side
    client = converse(client_context(demands(), identity=identity()), made)[0]
    assert client.error is None
    refused, served = converse(naive(server=False), made)
    refusal(served, NotAttested)
    assert refused.received == b""
