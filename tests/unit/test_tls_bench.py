"""The benchmark of attested TLS: it measures what it says, and its handshakes are really attested."""

import pytest
from benchmarks.tls.__main__ import as_text
from benchmarks.tls.rounds import SPARE, Spread, measure, timed
from benchmarks.tls.shaking import shake
from benchmarks.tls.subjects import subjects

from cloister.tls import PeerRefused, peer_of

ROUNDS = 2


def test_a_row_is_measured_for_each_way() -> None:
    outcomes = [measure(one, ROUNDS) for one in subjects("software", ROUNDS + SPARE)]
    assert [one.subject for one in outcomes] == ["software: server", "software: both ends", "software: server, fresh"]
    for one in outcomes:
        assert one.rounds == ROUNDS
        assert one.attested.median > one.verification.median > 0
        assert 0 < one.signatures < 1
    text = as_text(outcomes)
    assert len(text.splitlines()) == 4
    assert "software: both ends" in text


def test_the_attested_handshakes_verify_who_should_be_verified() -> None:
    verified = []
    for one in subjects("software", 1):
        verified.append([peer_of(half.tls) is not None for half in shake(*one.attested[0])])
        assert [half.tls.version() for half in shake(*one.plain)] == ["TLSv1.3", "TLSv1.3"]
    assert verified == [[True, False], [True, True], [True, False]]


def test_a_refused_handshake_is_no_measurement() -> None:
    believing_another, _ = subjects("software", 1)[0].attested[0]
    _, server = subjects("software", 1)[0].attested[0]
    with pytest.raises(PeerRefused):
        shake(believing_another, server)


def test_making_evidence_is_taken_out() -> None:
    making = [0.0]

    def work() -> None:
        making[0] += 1000.0

    assert timed(work, making) < -999


def test_the_spread_is_in_milliseconds() -> None:
    spread = Spread.of([0.001, 0.002, 0.003])
    assert (spread.lowest, spread.median, spread.highest) == (1.0, 2.0, 3.0)
