"""The check after the handshake, alone: it must hold even if what stands before it had not."""

import ssl
from dataclasses import replace

import pytest
from tests.forge.x509 import NOW
from tests.services.attested_tls import demands, identity

from cloister.envelope import ClaimsBinding
from cloister.errors import BindingInvalid
from cloister.tls import PeerRefused
from cloister.tls.course import Course, Ends
from cloister.tls.demands import CERTIFICATE_RECIPE, Shown, opened
from cloister.tls.gate import Gate

SERVER = identity().credentials().certificate
OTHER = identity().credentials().certificate


class Channel:
    """A connection that says of itself what it likes."""

    session_reused: bool | None = False
    spoken = "TLSv1.3"

    def version(self) -> str | None:
        return self.spoken

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        return cb_type.encode()


def gate(certificate: bytes = SERVER.encoded) -> Gate:
    """One through which this certificate has come."""
    made = Gate(demands(), lambda _: None)
    made.receive(message(certificate))
    return made


def message(certificate: bytes) -> bytes:
    entry = len(certificate).to_bytes(3, "big") + certificate + bytes(2)
    body = b"\0" + len(entry).to_bytes(3, "big") + entry
    return b"\x0b" + len(body).to_bytes(3, "big") + body


def run(
    held: Gate | None, channel: Channel, *, shown: bytes = SERVER.encoded, told: list[PeerRefused] | None = None
) -> Course:
    report = None if told is None else told.append
    course = Course(Ends(server=False, gate=held, demands=demands(), identity=None, own=None, report=report))
    course.run(
        channel, shown=lambda: shown, agreed=lambda: None, shake=lambda: None,
        read=lambda _: b"", write=len,
    )  # fmt: skip
    return course


def test_what_is_as_it_should_be_passes() -> None:
    course = run(gate(), Channel())
    assert course.done
    assert course.peer is not None
    assert course.peer.certificate == SERVER


def test_an_older_version_is_refused() -> None:
    channel = Channel()
    channel.spoken = "TLSv1.2"
    with pytest.raises(PeerRefused, match="not what was asked for"):
        run(gate(), channel)


def test_a_resumed_session_is_refused() -> None:
    channel = Channel()
    channel.session_reused = True
    with pytest.raises(PeerRefused, match="not what was asked for"):
        run(gate(), channel)


def test_another_certificate_at_the_end_is_refused() -> None:
    told: list[PeerRefused] = []
    with pytest.raises(PeerRefused, match="another certificate") as raised:
        run(gate(), Channel(), shown=OTHER.encoded, told=told)
    assert isinstance(raised.value.error, BindingInvalid)
    assert [(one.refused, one.error) for one in told] == [(raised.value.refused, raised.value.error)]


def test_a_handshake_in_which_no_certificate_came_is_refused() -> None:
    with pytest.raises(PeerRefused, match="without a certificate"):
        run(Gate(demands(), lambda _: None), Channel())


def test_a_refusal_of_the_gate_counts_even_if_the_handshake_went_on() -> None:
    held = gate(b"no certificate")
    with pytest.raises(PeerRefused, match="cannot be verified"):
        run(held, Channel())


def test_a_second_certificate_message_is_refused() -> None:
    held = gate()
    held.receive(message(OTHER.encoded))
    with pytest.raises(PeerRefused, match="second Certificate"):
        run(held, Channel())


def test_a_refused_course_stays_refused() -> None:
    channel = Channel()
    channel.spoken = "TLSv1.2"
    course = Course(Ends(server=False, gate=gate(), demands=demands(), identity=None, own=None))
    for _ in range(2):
        with pytest.raises(PeerRefused):
            course.run(channel, lambda: SERVER.encoded, lambda: None, lambda: None, lambda _: b"", len)
        channel.spoken = "TLSv1.3"
    assert not course.done


def test_errors_of_the_network_are_not_refusals() -> None:
    def broken() -> None:
        raise ssl.SSLEOFError("gone")

    course = Course(Ends(server=False, gate=gate(), demands=demands(), identity=None, own=None))
    with pytest.raises(ssl.SSLEOFError):
        course.run(Channel(), lambda: b"", lambda: None, broken, lambda _: b"", len)
    assert course.refusal is None


def test_the_trust_store_gets_what_was_accepted_and_nothing_else() -> None:
    trusted: list[bytes] = []
    strict = Gate(demands(anchors=None), trusted.append)
    strict.receive(message(SERVER.encoded))
    assert (trusted, strict.refusal is None) == ([], False)
    willing = Gate(replace(demands()), trusted.append)
    willing.receive(message(SERVER.encoded))
    assert trusted == [SERVER.encoded]


def test_evidence_that_nothing_binds_to_the_key_is_refused() -> None:
    """The readers bind everything that they take out of a certificate; should one forget to, it is not believed."""
    envelope = opened(SERVER, ())
    CERTIFICATE_RECIPE.follow(Shown(SERVER, envelope, NOW))
    others = tuple(replace(one, holder=OTHER) for one in envelope.bindings if isinstance(one, ClaimsBinding))
    assert others
    for bindings in ((), others):
        with pytest.raises(BindingInvalid, match="not bound to the certificate's key"):
            CERTIFICATE_RECIPE.follow(Shown(SERVER, replace(envelope, bindings=bindings), NOW))
    with pytest.raises(BindingInvalid, match="not bound"):
        CERTIFICATE_RECIPE.follow(Shown(SERVER, replace(envelope, parts=()), NOW))
