"""The key and certificate with evidence that an enclave makes itself: when, how often, and whom it does not believe."""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.forge.carrier import PlayedCarrier, send_frame
from tests.forge.x509 import NOW
from tests.property.tls_pieces.driver import HERE, INCLUDED, SOURCES
from tests.services.attested_tls import demands, quote
from tests.unit.runtime_crypto_driver import HOSTED, RUNTIME, SANITIZED, run

from cloister._x509 import Certificate
from cloister.appraise.vector import Tier
from cloister.launch import _abi
from cloister.tls import PeerRefused

START = int(NOW.timestamp())
DAY, MINUTE = 86400, 60
PERMISSION, NO_ATTESTER, TOO_LARGE, PROTOCOL, GONE = -13, -107, -90, -71, -5
NOBODY_THERE, RESET, BROKEN_PIPE = -2, -104, -32


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("attested")
    included = [*INCLUDED, f"-I{RUNTIME / 'shield'}", f"-I{RUNTIME / 'volume'}", "-D_GNU_SOURCE"]
    sources = [RUNTIME / "shield" / "attested.c", RUNTIME / "src" / "carrier.c", HERE / "attested.c"]
    cryptography = [source for source in SOURCES if source.name != "text.c"]
    run("cc", *HOSTED, *SANITIZED, *included, "-o", place / "attested", *sources, *cryptography)
    return place / "attested"


class Enclave:
    """The program, asked at times of the test's choice."""

    def __init__(self, program: Path, path: Path | str) -> None:
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def at(self, seconds: int) -> Certificate:
        """What it shows now; its key must be the certificate's."""
        error, der, signature = self.ask(seconds)
        assert error == 0
        certificate = Certificate.parse(der)
        key = load_der_public_key(certificate.spki)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, der, ec.ECDSA(hashes.SHA256()))
        return certificate

    def error_at(self, seconds: int) -> int:
        error, der, _ = self.ask(seconds)
        assert der == b""
        return error

    def ask(self, seconds: int) -> tuple[int, bytes, bytes]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        error, *texts = self.process.stdout.readline().split()
        der, signature = (b"" if text == "-" else bytes.fromhex(text) for text in texts)
        return int(error), der, signature


@contextlib.contextmanager
def enclave(program: Path, path: Path | str) -> Iterator[Enclave]:
    one = Enclave(program, path)
    try:
        yield one
    finally:
        with one.process:
            pass
        assert one.process.returncode == 0, "the sanitizers found something"


Answer = Callable[[bytes], tuple[int, bytes]]


def attester(path: Path, answer: Answer) -> PlayedCarrier:
    """A carrier that is asked for evidence only."""

    def answers(played: PlayedCarrier, connection: socket.socket) -> None:
        kind, report_data = played.hear(connection)
        assert kind == _abi.FRAME_EVIDENCE_WANTED
        send_frame(connection, *answer(report_data))

    return PlayedCarrier(path, b"", answers=answers)


def honest(report_data: bytes) -> tuple[int, bytes]:
    return _abi.FRAME_EVIDENCE, quote(report_data)


def test_the_verifier_accepts_what_it_shows(program: Path, tmp_path: Path) -> None:
    with attester(tmp_path / "c", honest), enclave(program, tmp_path / "c") as one:
        certificate = one.at(START)
    assert demands().appraise([certificate.encoded]).status is Tier.AFFIRMING
    assert certificate.not_before == NOW.replace(microsecond=0) - timedelta(minutes=5)
    assert certificate.not_after == NOW.replace(microsecond=0) + timedelta(days=1)


def test_the_attester_is_asked_once_until_two_thirds_are_over(program: Path, tmp_path: Path) -> None:
    with attester(tmp_path / "c", honest) as played, enclave(program, tmp_path / "c") as one:
        first = one.at(START)
        assert {one.at(START + passed) for passed in (0, 1, DAY // 2, DAY * 2 // 3 - 1)} == {first}
        assert len(played.heard.frames) == 1
        second = one.at(START + DAY * 2 // 3)
        assert len(played.heard.frames) == 2
        third = one.at(START + 2 * DAY)
    assert len({one.spki for one in (first, second, third)}) == 3, "a new key each time"
    assert third.not_after == NOW.replace(microsecond=0) + timedelta(days=3)


def test_a_clock_that_is_set_back_makes_it_new(program: Path, tmp_path: Path) -> None:
    """Peers would find a certificate that is not valid yet."""
    with attester(tmp_path / "c", honest), enclave(program, tmp_path / "c") as one:
        assert one.at(START).spki != one.at(START - DAY).spki


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda _: (_abi.FRAME_REFUSED, struct.pack("<I", 5) + b"not attested"), PERMISSION),
        (lambda _: (_abi.FRAME_EVIDENCE, b""), TOO_LARGE),
        (lambda _: (_abi.FRAME_EVIDENCE, bytes(12 << 10)), TOO_LARGE),
        (lambda _: (_abi.FRAME_EVIDENCE, bytes(60 << 10)), TOO_LARGE),
        (lambda _: (_abi.FRAME_NONCE, b"x"), PROTOCOL),
    ],
    ids=["refused", "nothing", "too much for a handshake", "too much for a certificate", "another frame"],
)
def test_without_evidence_nothing_is_shown(program: Path, tmp_path: Path, answer: Answer, error: int) -> None:
    with attester(tmp_path / "c", answer), enclave(program, tmp_path / "c") as one:
        assert one.error_at(START) == error
        assert one.error_at(START + 1) == error


def test_an_attester_that_hangs_up(program: Path, tmp_path: Path) -> None:
    def hang_up(_played: PlayedCarrier, connection: socket.socket) -> None:
        connection.recv(8)

    with PlayedCarrier(tmp_path / "c", b"", answers=hang_up), enclave(program, tmp_path / "c") as one:
        assert one.error_at(START) in {GONE, RESET, BROKEN_PIPE}


def test_without_an_attester(program: Path, tmp_path: Path) -> None:
    with enclave(program, "") as one:
        assert one.error_at(START) == NO_ATTESTER
    with enclave(program, tmp_path / "nobody") as one:
        assert one.error_at(START) == NOBODY_THERE


def test_what_holds_is_shown_on_while_the_attester_is_away(program: Path, tmp_path: Path) -> None:
    """And it is left alone for a minute, for each question would keep a connection waiting."""
    asked, away = [], [True]

    def answer(report_data: bytes) -> tuple[int, bytes]:
        asked.append(report_data)
        return (_abi.FRAME_REFUSED, bytes(4)) if away[0] and len(asked) > 1 else honest(report_data)

    with attester(tmp_path / "c", answer), enclave(program, tmp_path / "c") as one:
        first = one.at(START)
        due = START + DAY * 2 // 3
        assert [one.at(due), one.at(due + 1), one.at(due + MINUTE - 1)] == [first] * 3
        assert len(asked) == 2
        assert one.at(due + MINUTE) == first
        assert len(asked) == 3
        assert one.error_at(START + DAY) == PERMISSION, "it is too old now"
        away[0] = False
        assert one.at(START + DAY).spki != first.spki


def test_evidence_of_another_enclave_does_not_convince(program: Path, tmp_path: Path) -> None:
    """The carrier stands outside: it may give evidence that was made for another key."""
    other = quote(bytes(64))
    with attester(tmp_path / "c", lambda _: (_abi.FRAME_EVIDENCE, other)), enclave(program, tmp_path / "c") as one:
        certificate = one.at(START)
    with pytest.raises(PeerRefused):
        demands().appraise([certificate.encoded])
