"""Frames between runtime and carrier: what is written is read, and nothing else is."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.fake_runtime import FakeRuntime, frame

from cloister.attest.frames import (
    SIZES,
    Hangup,
    Hello,
    Kind,
    Statement,
    receive,
    refusal,
    report_data_of,
    send,
)
from cloister.errors import ParseError
from cloister.launch import _abi
from cloister.serve.kbs_messages import parse_attestation

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@given(st.sampled_from(list(Kind)), st.data())
def test_what_is_sent_is_received(kind: Kind, data: Any) -> None:
    size = data.draw(st.sampled_from(sorted({SIZES.get(kind, range(1000))[0], SIZES.get(kind, range(1000))[-1]})))
    body = data.draw(st.binary(min_size=size, max_size=size))
    left, right = socket.socketpair()
    with left, right:
        send(left, kind, body, 1)
        found = receive(right, 1, kind)
    assert (found.kind, found.body) == (kind, body)


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (frame(99, b""), "kind at byte 0: 99"),
        (frame(0, b""), "kind at byte 0: 0"),
        (frame(_abi.FRAME_QUOTE, bytes(64)), "out of order"),
        (frame(_abi.FRAME_HELLO, bytes(7)), "size at byte 4: 7 bytes"),
        (frame(_abi.FRAME_HELLO, bytes(9)), "size at byte 4: 9 bytes"),
        (frame(_abi.FRAME_STATEMENT, bytes(95)), "size at byte 4: 95"),
        (frame(_abi.FRAME_REFRESH, b"x"), "size at byte 4: 1 "),
        (frame(_abi.FRAME_SEALED, b"", _abi.FRAME_MAX_BYTES + 1), "size at byte 4: 8388609"),
        (frame(_abi.FRAME_SEALED, b"", 0xFFFFFFFF), "size at byte 4: 4294967295"),
        (frame(_abi.FRAME_HELLO, b"", 8), "ended after 0 of 8"),
        (b"\1\0\0", "ended after 3 of 8"),
    ],
)
def test_what_is_no_frame_is_refused(pair: Pair, sent: bytes, what: str) -> None:
    pair[0].sendall(sent)
    pair[0].shutdown(socket.SHUT_WR)
    wanted = Kind.HELLO, Kind.STATEMENT, Kind.REFRESH, Kind.SEALED
    with pytest.raises(ParseError, match=what):
        receive(pair[1], 5, *wanted)


def test_the_end_between_frames_is_an_end(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(Hangup):
        receive(pair[1], 5)


def test_silence_ends(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        receive(pair[1], 0.05)


def test_a_byte_now_and_then_does_not_hold_a_frame_open(pair: Pair) -> None:
    over = threading.Event()

    def drip() -> None:
        for byte in frame(_abi.FRAME_STATEMENT, bytes(96)):
            if over.wait(0.02):
                return
            pair[0].sendall(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        receive(pair[1], 0.3, Kind.STATEMENT)
    assert time.monotonic() - began < 1
    over.set()
    thread.join()


def test_who_does_not_read_does_not_hold_the_sender(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        send(pair[0], Kind.SEALED, bytes(_abi.FRAME_MAX_BYTES), 0.1)


def test_nothing_too_large_is_sent(pair: Pair) -> None:
    with pytest.raises(ParseError):
        send(pair[0], Kind.SEALED, bytes(_abi.FRAME_MAX_BYTES + 1), 1)


def test_a_greeting_is_of_this_version() -> None:
    assert Hello.parse(struct.pack("<II", _abi.ABI_VERSION, 0)) == Hello(_abi.ABI_VERSION, guarded=False)
    assert Hello.parse(struct.pack("<II", _abi.ABI_VERSION, _abi.HELLO_GUARDED)).guarded
    for version, flags in ((_abi.ABI_VERSION + 1, 0), (0, 0), (_abi.ABI_VERSION, 2), (_abi.ABI_VERSION, 1 << 31)):
        with pytest.raises(ParseError):
            Hello.parse(struct.pack("<II", version, flags))


def test_the_report_data_are_what_the_broker_expects() -> None:
    """By three who do not know each other: this, the fake runtime's JSON, the broker's reader."""
    statement = Statement(bytes(32), bytes(32), bytes(range(1, 33)))
    nonce = "bm9uY2U="
    fake = FakeRuntime("", statement.key)
    fake.nonce = nonce
    ours = report_data_of(nonce, statement)
    assert fake.report_data(statement.key) == ours
    runtime = f'{{"nonce":"{nonce}","tee-pubkey":{str(statement.jwk).replace(chr(39), chr(34))}}}'
    text = f'{{"runtime-data":{runtime},"tee-evidence":{{"primary_evidence":{{}},"additional_evidence":""}}}}'
    assert parse_attestation(text.encode(), "software").pieces[0].challenge.nonce == ours[:48]
    assert ours[48:] == bytes(16)


def test_a_refusal_is_one_printable_line() -> None:
    body = refusal("a\nb\x1b[31mc\x07 ü \u202e", 7)
    assert struct.unpack_from("<I", body) == (7,)
    assert body[4:].decode() == "a b [31mc  ü  "
    assert len(refusal("ü" * 4000, 5)) <= 1004
