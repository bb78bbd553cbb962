"""Attacks on attested TLS. In each the attacker shows something that is nearly right, and must not get one byte."""

import ssl
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.forge import ratls
from tests.forge.intel import DEBUG_SGX
from tests.forge.x509 import NOW, YEAR, spki
from tests.services.attested_tls import (
    EXPECTED,
    End,
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

from cloister import _cbor, _x509
from cloister._x509 import Certificate
from cloister.appraise.vector import Tier
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    NotAttested,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.tls import PeerRefused, client_context, demand, server_context
from cloister.tls.certificate import Credentials
from cloister.verification.recipe import Allowances, CheckState

ANY = frozenset(Tier)


def refused_server(server: ssl.SSLContext, why: type[CloisterError] | None, **settings: Any) -> PeerRefused:
    """A client meets this server, both ways of starting: it refuses, and not a byte of the request arrives."""
    refusals = []
    for lazily in (False, True):
        client, served = converse(client_context(demands(**settings)), server, lazily=lazily)
        assert served.received == b""
        assert isinstance(served.error, ssl.SSLError), served
        refusals.append(refusal(client, why))
    return refusals[-1]


def refused_client(shows: Credentials | None, why: type[CloisterError], **settings: Any) -> End:
    """A client that shows this meets a server that demands evidence: nothing of the request is read, nothing said."""
    server = server_context(identity(), demands=demands(**settings))
    client, served = converse(naive(server=False, shows=shows), server)
    refusal(served, why)
    assert (served.received, client.received) == (b"", b"")
    return client


# ---------------------------------------------------------------- the controls


def test_the_honest_server_is_accepted() -> None:
    key = own_key()
    client, served = converse(client_context(demands()), hostile(key, genuine(key)))
    assert (client.error, served.received, client.received) == (None, b"request", b"answer")


def test_the_honest_client_is_accepted() -> None:
    key = own_key()
    shows = credentials(key, ratls.certificate(key, [genuine(key)]))
    client, served = converse(naive(server=False, shows=shows), server_context(identity(), demands=demands()))
    assert (served.error, served.received, client.received) == (None, b"request", b"answer")


# ---------------------------------------------------------------- evidence of others


def test_evidence_of_another_key_is_refused() -> None:
    """Key substitution: genuine evidence of a TEE in a certificate of the attacker's own."""
    victim, thief = own_key(), own_key()
    refused = refused_server(hostile(thief, genuine(victim)), BindingInvalid)
    assert [one.number for one in refused.checks if one.state is CheckState.FAILED] == ["BINDING-2"]


def test_a_relay_that_encrypts_again_is_refused() -> None:
    """A man in the middle takes the extension out of the certificate that the TEE shows to him."""
    client, _ = converse(client_context(demands()), server_context(identity()))
    assert client.peer is not None
    taken = client.peer.certificate.extensions[ratls.DICE].value
    refused_server(hostile(own_key(), (ratls.DICE, taken)), BindingInvalid)


def test_a_recorded_certificate_without_its_key_is_refused() -> None:
    """The certificate is the TEE's, byte for byte; CertificateVerify is signed with another key."""
    client, _ = converse(client_context(demands()), server_context(identity()))
    assert client.peer is not None
    refused_server(naive(server=True, shows=with_foreign_key(client.peer.certificate)), SignatureInvalid)


def test_a_recorded_client_certificate_without_its_key_is_refused() -> None:
    key = own_key()
    recorded = ratls.certificate(key, [genuine(key)])
    refused_client(with_foreign_key(recorded), SignatureInvalid)


def with_foreign_key(certificate: Certificate) -> Credentials:
    """A certificate with a private key that is not its own, and says that its public half is the certificate's.

    RFC 5915: ECPrivateKey has the public key beside the scalar, and OpenSSL believes it when it compares the two.
    """
    point, scalar = certificate.spki[-65:], own_key().private_numbers().private_value.to_bytes(32, "big")
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    body = b"\x02\x01\x01\x04\x20" + scalar + curve + b"\xa1\x44\x03\x42\x00" + point
    private = ratls.armoured(b"\x30" + bytes([len(body)]) + body, "EC PRIVATE KEY")
    return Credentials(certificate=certificate, pem=ratls.armoured(certificate.encoded) + private, passphrase=b"")


def test_evidence_that_is_out_of_date_is_refused() -> None:
    server = server_context(identity(lifetime=timedelta(hours=1)))
    later = demands(clock=lambda: NOW + timedelta(hours=2))
    found = refusal(converse(client_context(later), server)[0], NotFresh)
    assert "outside its dates" in str(found)


def test_a_certificate_from_the_future_is_refused() -> None:
    server = server_context(identity(clock=lambda: NOW + YEAR))
    refusal(converse(client_context(demands()), server)[0], NotFresh)


def test_expired_collateral_is_no_verdict() -> None:
    server = server_context(identity(lifetime=2 * YEAR))
    late = demands(clock=lambda: NOW + YEAR)
    found = refusal(converse(client_context(late), server)[0], EndorsementUnavailable)
    assert (found.undecided, found.exit_code) == (True, 6)


def test_debug_enclaves_are_refused() -> None:
    server = server_context(identity(lambda data: quote(data, attributes=DEBUG_SGX)))
    client, served = converse(client_context(demands()), server)
    assert "debug" in str(refusal(client, VerificationError)).lower()
    assert served.received == b""
    willing = demands(EXPECTED.replace("debug = false\n", ""), allow=Allowances(unsafe_allow_debug=True), accept=ANY)
    assert converse(client_context(willing), server)[0].error is None, "the control: whoever says so gets it"


def test_a_policy_for_hardware_refuses_other_anchors() -> None:
    """Whose roots are believed is one question, what they are worth another: both must be answered for hardware."""
    client, served = converse(
        client_context(demands(EXPECTED.replace("testing", "hardware"))), server_context(identity())
    )
    assert refusal(client, None).exit_code == 4
    assert served.received == b""


def test_the_hardware_vendors_are_the_default() -> None:
    client, _ = converse(client_context(demand(demands().policy, clock=lambda: NOW)), server_context(identity()))
    refusal(client, ChainInvalid)


def test_another_program_is_refused_with_the_verdict() -> None:
    server = server_context(identity(lambda data: quote(data, mrenclave=bytes(32))))
    client, served = converse(client_context(demands()), server)
    found = refusal(client, None)
    assert found.verdict is not None
    assert (found.exit_code, served.received) == (4, b"")
    assert any(one.state is CheckState.FAILED and "mrenclave" in one.title.lower() for one in found.checks), (
        found.checks
    )


# ---------------------------------------------------------------- certificates that are not what they should be


def test_no_evidence_is_refused() -> None:
    refused_server(hostile(own_key()), ParseError)


def test_two_extensions_of_one_kind_are_refused() -> None:
    key = own_key()
    made = ratls.certificate(key, [genuine(key), ("2.23.133.5.4.8", genuine(key)[1])]).encoded
    last = bytes.fromhex("0606678105050408")
    assert last in made
    twice = made.replace(last, bytes.fromhex("0606678105050409"))
    with pytest.raises(ParseError, match="stands twice"):
        Certificate.parse(twice)
    leaf = Credentials(certificate=ratls.certificate(key, []), pem=ratls.armoured(twice), passphrase=b"only here")
    private = credentials(key, leaf.certificate).pem.split(b"-----BEGIN ENCRYPTED")[1]
    shows = Credentials(
        certificate=leaf.certificate, pem=leaf.pem + b"-----BEGIN ENCRYPTED" + private, passphrase=b"only here"
    )
    refused_server(naive(server=True, shows=shows), ParseError)


def test_honest_evidence_does_not_cover_for_a_stolen_one_beside_it() -> None:
    """Two kinds of extension, as Gramine has them, but the second holds evidence of somebody else."""
    key, victim = own_key(), own_key()
    stolen = ratls.INTEL, quote(ratls.report_data(spki(victim)))
    refused_server(hostile(key, genuine(key), stolen), BindingInvalid)
    both = ratls.INTEL, quote(ratls.report_data(spki(key)))
    client, _ = converse(client_context(demands()), hostile(key, genuine(key), both))
    assert client.error is None, "the control: both speak of this key"


@pytest.mark.parametrize("oid", [ratls.GRAMINE, ratls.INTEL, ratls.RATS_TLS, ratls.OE_REPORT, ratls.OE_EVIDENCE])
def test_evidence_under_the_identifier_of_another_form_is_refused(oid: str) -> None:
    """The claims' hash where the key's belongs, and a tag where a quote belongs."""
    key = own_key()
    hashed = quote(ratls.report_data(ratls.claims_for(key)))
    wraps: dict[str, Callable[[bytes], bytes]] = {
        ratls.OE_REPORT: ratls.oe_report,
        ratls.OE_EVIDENCE: ratls.oe_evidence,
    }
    wrap = wraps.get(oid, bytes)
    refused_server(hostile(key, (oid, wrap(hashed))), BindingInvalid)
    refused_server(hostile(key, (oid, genuine(key)[1])), ParseError)


def test_an_honest_certificate_inside_a_certificate_is_refused() -> None:
    """The inner one binds its evidence to its own key, not to the one that the peer holds."""
    key, victim = own_key(), own_key()
    inner = ratls.certificate(victim, [genuine(victim)]).encoded
    refused_server(hostile(key, (ratls.DICE, _cbor.dumps(["application/pkix-cert", inner]))), BindingInvalid)


def test_claims_that_name_another_key_are_refused() -> None:
    key, victim = own_key(), own_key()
    refused_server(hostile(key, ratls.dice_extension(quote, ratls.claims_for(victim))), BindingInvalid)


@pytest.mark.parametrize("size", [40_000, 70_000, 200_000])
def test_a_huge_extension_is_refused(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    key = own_key()
    value = _cbor.dumps(_cbor.Tag(60000, [bytes(size), ratls.claims_for(key)]))
    with monkeypatch.context() as patched:  # the attacker's tool has no limits
        patched.setattr(_x509, "MAX_CERTIFICATE", 1 << 20)
        server = hostile(key, (ratls.DICE, value))
    client, served = converse(client_context(demands()), server)
    assert isinstance(client.error, ssl.SSLError)
    assert served.received == b""
    if size < 100_000:  # beyond that OpenSSL refuses before anybody looks
        refusal(client, ParseError)


def test_evidence_in_another_certificate_than_the_leaf_is_refused() -> None:
    key, honest = own_key(), own_key()
    shows = credentials(key, ratls.certificate(key, []), ratls.certificate(honest, [genuine(honest)]))
    refused_server(naive(server=True, shows=shows), ParseError)


def test_a_leaf_that_an_attested_key_has_signed_is_refused() -> None:
    """Only the key of the leaf counts, whoever signed for it."""
    key, honest = own_key(), own_key()
    leaf = ratls.certificate(key, [genuine(honest)], signer=honest, issuer="attested")
    refused_server(
        naive(server=True, shows=credentials(key, leaf, ratls.certificate(honest, [genuine(honest)]))), BindingInvalid
    )


# ---------------------------------------------------------------- clients of a server that demands evidence


def test_a_client_without_a_certificate_is_refused() -> None:
    refused_client(None, NotAttested)


def test_a_client_certificate_without_evidence_is_refused() -> None:
    key = own_key()
    refused_client(credentials(key, ratls.certificate(key, [])), ParseError)


def test_a_client_with_evidence_of_another_key_is_refused() -> None:
    key = own_key()
    refused_client(credentials(key, ratls.certificate(key, [genuine(own_key())])), BindingInvalid)


def test_the_peer_learns_nothing_from_the_alert() -> None:
    """Whatever is wrong with its evidence, the client gets the same alert, or none if it was too slow for it."""
    key = own_key()
    wrong = [
        (ratls.certificate(key, []), ParseError),
        (ratls.certificate(key, [genuine(own_key())]), BindingInvalid),
    ]
    said = {str(refused_client(credentials(key, one), why).error) for one, why in wrong}
    assert all("ALERT_UNKNOWN_CA" in one or "EOF" in one or "Broken pipe" in one or "reset" in one for one in said), (
        said
    )
