"""The connection between a person and the relay: frames in any pieces, and nothing that is none."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attest.console_link import Call, Frames, LinkFrame, LinkKind, packed, size_of
from cloister.attest.console_person import wait_for_person
from cloister.attest.console_relay import Ends, Relay
from cloister.attest.console_start import listen_at, parse_address
from cloister.errors import ParseError, UsageError

frames = st.builds(LinkFrame, st.sampled_from([LinkKind.INPUT, LinkKind.OUTPUT, LinkKind.NOTE]), st.binary(max_size=80))


@given(st.lists(frames, max_size=6), st.data())
def test_frames_come_whole_whatever_the_pieces(sent: list[LinkFrame], data: st.DataObject) -> None:
    stream = b"".join(packed(frame.kind, frame.body) for frame in sent)
    reader, got, at = Frames(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        got += reader.feed(stream[at : at + size])
        at += size
    assert got == sent
    assert reader.is_between


@pytest.mark.parametrize("head", [struct.pack("<II", 0, 0), struct.pack("<II", 99, 1), struct.pack("<II", 6, 5)])
def test_what_is_no_frame_is_refused(head: bytes) -> None:
    with pytest.raises(ParseError):
        Frames().feed(head)
    with pytest.raises(ParseError):
        packed(LinkKind.SIGNAL, b"12345")


@given(st.binary(min_size=32, max_size=32), st.booleans(), st.integers(0, 65535), st.integers(0, 65535))
def test_a_call_is_read_as_it_was_written(nonce: bytes, terminal: bool, rows: int, columns: int) -> None:  # noqa: FBT001
    call = Call(nonce=nonce, terminal=terminal, rows=rows, columns=columns)
    assert Call.parse(call.serialize()) == call


@given(st.binary(max_size=80))
def test_what_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(ParseError):
        Call.parse(body)


@pytest.mark.parametrize("body", [b"", b"123", b"12345"])
def test_a_size_has_four_bytes(body: bytes) -> None:
    with pytest.raises(ParseError):
        size_of(body)


def test_addresses(tmp_path: Path) -> None:
    assert parse_address("./x").endswith("/x")  # type: ignore[union-attr]
    assert parse_address("127.0.0.1:7000") == ("127.0.0.1", 7000)
    assert parse_address("[::1]:7000") == ("::1", 7000)
    for wrong in ("console", "127.0.0.1:70000", f"{tmp_path}/{'x' * 100}"):
        with pytest.raises(UsageError):
            parse_address(wrong)
    for elsewhere in ("0.0.0.0:7000", "example.org:7000"):
        with pytest.raises(UsageError, match="unsafe-listen-anywhere"):
            listen_at(elsewhere, unsafe_anywhere=False)


def test_only_the_owner_may_call(tmp_path: Path) -> None:
    with listen_at(str(tmp_path / "c"), unsafe_anywhere=False):
        assert (tmp_path / "c").stat().st_mode & 0o077 == 0
        with pytest.raises(UsageError, match="cannot listen"):
            listen_at(str(tmp_path / "c"), unsafe_anywhere=False)


def test_whoever_talks_nonsense_is_not_the_person(tmp_path: Path) -> None:
    call = Call(nonce=bytes(32), terminal=False)
    read, write = os.pipe()
    with listen_at(str(tmp_path / "c"), unsafe_anywhere=False) as listener:
        strangers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for stranger, words in zip(
            strangers, (b"GET / HTTP/1.1\r\n\r\n", b"", packed(LinkKind.INPUT, b"x")), strict=True
        ):
            stranger.connect(str(tmp_path / "c"))
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
        with socket.socket(socket.AF_UNIX) as person:
            person.connect(str(tmp_path / "c"))
            person.sendall(packed(LinkKind.CALL, call.serialize()))
            found = wait_for_person(listener, read)
            assert found is not None
            assert found.call == call
            found.end()
            assert person.recv(4) == struct.pack("<I", LinkKind.REFUSED)
        os.close(write)
        assert wait_for_person(listener, read) is None, "the program's starter has gone"
    os.close(read)
    for stranger in strangers:
        stranger.close()


def test_the_relay_passes_records_and_says_how_much_was_taken() -> None:
    (into, reads), (out, writes) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    person, host = socket.socketpair()
    relay = Relay(Ends(into=into.detach(), out=out, terminal=False))
    relay.begin(host, Frames(), [LinkFrame(LinkKind.INPUT, b"first")])
    person.sendall(packed(LinkKind.INPUT, b"second") + packed(LinkKind.SIGNAL, (2).to_bytes(4, "little")))
    assert [reads.recv(100), reads.recv(100)] == [b"first", b"second"]
    writes.send(b"printed")
    writes.close()
    relay.end()
    frames, got = Frames(), []
    while data := person.recv(1 << 16):
        got += frames.feed(data)
    assert [one.body for one in got if one.kind is LinkKind.OUTPUT] == [b"printed"]
    taken = sum(int.from_bytes(one.body, "little") for one in got if one.kind is LinkKind.TAKEN)
    assert taken == len(b"firstsecond")
    assert reads.recv(100) == b"", "and it hung up"
    reads.close()
    person.close()


def test_a_person_who_hangs_up_ends_the_relay() -> None:
    (into, reads), (out, writes) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    person, host = socket.socketpair()
    relay = Relay(Ends(into=into.detach(), out=out, terminal=False))
    relay.begin(host, Frames(), [])
    person.close()
    relay.end()
    assert not [one for one in threading.enumerate() if one is relay._thread]
    assert reads.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        writes.send(b"to nobody")
    reads.close()
    writes.close()
