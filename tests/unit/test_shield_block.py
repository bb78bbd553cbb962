"""The shield block, byte by byte (docs/formats/shield.md)."""

import struct
from dataclasses import replace

import pytest

from cloister.errors import ParseError
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, Entry, FilesEntry, ListenEntry
from cloister.shield_policy.words import FileKind, Transport, path_fault

KEY, DIGEST = bytes(range(32)), bytes(range(32, 64))
VOLUME = FilesEntry(kind=FileKind.ENCRYPTED, path="/data", container="/srv/v", key=KEY)


def text(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def only(entry: Entry) -> ShieldBlock:
    return ShieldBlock(entries=(entry,))


def test_files() -> None:
    entry = FilesEntry(
        kind=FileKind.AUTHENTICATED, path="/data", container="/srv/v", key=KEY, read_only=True, report_root=True,
        generation=7, digest=DIGEST, writer=b"w" * 16, cache=1 << 28, name="data",
    )  # fmt: skip
    body = words(2, 1 | 4) + text(b"/data") + text(b"/srv/v") + KEY + struct.pack("<Q", 7) + DIGEST + b"w" * 16
    body += struct.pack("<Q", 1 << 28) + text(b"data")
    assert only(entry).serialize() == words(1, 1 | 2, 1, 1) + text(body)


def test_ports_destinations_and_the_console() -> None:
    block = ShieldBlock(strict=False, network=False, entries=(
        ListenEntry(transport=Transport.TLS, port=8443, needs_client=True, certificates=(b"A", b"BC"), private_key=b"K",
                    clients=(KEY, DIGEST), name="web"),
        ConnectEntry(transport=Transport.RA_TLS, host="::1", port=6379, server_name="db", pins=(KEY,)),
        ConsoleEntry(key=KEY, terminal=True, rows=24, columns=80),
    ))  # fmt: skip
    listen = words(1, 1, 8443) + text(text(b"A") + text(b"BC")) + text(b"K") + text(KEY + DIGEST) + text(b"web")
    connect = words(2, 0) + text(b"::1") + words(6379) + text(b"db") + text(KEY) + text(b"") * 3
    console = words(1) + KEY + words(24, 80)
    expected = words(1, 4, 3, 2) + text(listen) + words(3) + text(connect) + words(4) + text(console)
    assert block.serialize() == expected
    assert ShieldBlock.parse(expected) == block


def test_nothing_is_shielded_by_nothing() -> None:
    assert ShieldBlock(entries=()).serialize() == words(1, 3, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "version"),
        (words(2, 3, 0), "2 is not understood"),
        (words(1, 8, 0), "flags"),
        (words(1, 3, 1025), "at most 1024"),
        (words(1, 3, 1, 5, 0), "type"),
        (words(1, 3, 0, 0), "too many"),
        (words(1, 7, 0), "console"),
        (words(1, 3, 1, 4) + text(words(1) + KEY + words(24, 80)), "console"),
        (words(1, 3, 1, 4) + text(words(1) + KEY + words(24, 80, 0)), "too many"),
        (words(1, 7, 1, 4) + text(words(2) + KEY + words(24, 80)), "flags"),
        (words(1, 3, 1, 2) + text(words(3, 0, 80) + text(b"") * 2 + text(b"x") + text(b"")), "pins"),
        (words(1, 3, 1, 2) + text(words(4, 0, 80) + text(b"") * 4), "kind"),
        (words(1, 3, 1, 2) + text(words(3, 0, 80) + text(b"") * 3 + text(b"a\0")), "NUL"),
    ],
)
def test_what_is_not_understood_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        ShieldBlock.parse(data)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (replace(VOLUME, path="data"), "not absolute"),
        (replace(VOLUME, path="/data/../etc"), "more than one reading"),
        (replace(VOLUME, container="srv"), "volume is not absolute"),
        (replace(VOLUME, key=bytes(32)), "needs a key"),
        (replace(VOLUME, key=b"short"), "32 bytes"),
        (replace(VOLUME, read_only=True, create=True), "cannot be created"),
        (replace(VOLUME, digest=DIGEST), "without its generation"),
        (replace(VOLUME, writer=b"w" * 16), "without its generation"),
        (replace(VOLUME, writer=b"w"), "the writer 16"),
        (FilesEntry(kind=FileKind.MEMORY, path="/tmp", container="/srv/v"), "has no volume"),
        (FilesEntry(kind=FileKind.PLAIN, path="/tmp", report_root=True), "has no volume"),
        (FilesEntry(kind=FileKind.PLAIN, path="/tmp", cache=1), "no cache"),
        (ListenEntry(transport=Transport.TLS, port=443), "needs a certificate"),
        (ListenEntry(transport=Transport.TLS, port=443, certificates=(b"x",)), "go together"),
        (ListenEntry(transport=Transport.RA_TLS, port=443, certificates=(b"x",), private_key=b"k"), "takes no"),
        (ListenEntry(transport=Transport.PLAIN, port=443, clients=(KEY,), needs_client=True), "without TLS"),
        (ListenEntry(transport=Transport.RA_TLS, port=443, clients=(KEY,)), "need no certificate"),
        (ListenEntry(transport=Transport.RA_TLS, port=443, clients=(b"x",), needs_client=True), "a pin has 32"),
        (ListenEntry(transport=Transport.PLAIN, port=0), "no port"),
        (ConnectEntry(transport=Transport.PLAIN, host="", port=65536), "no port"),
        (ConnectEntry(transport=Transport.PLAIN, host="", port=80, pins=(KEY,)), "without TLS"),
        (ConsoleEntry(key=bytes(32)), "not all zero"),
        (ConsoleEntry(key=KEY, rows=24), "without a terminal"),
    ],
)  # fmt: skip
def test_what_no_reader_takes_is_not_written(entry: Entry, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        only(entry).serialize()


def test_nothing_stands_twice() -> None:
    other = replace(VOLUME, path="/other")
    plain = ListenEntry(transport=Transport.PLAIN, port=80)
    for entries, said in (
        ((VOLUME, replace(VOLUME, container="/srv/w")), "path /data stands twice"),
        ((VOLUME, other), "volume /srv/v stands twice"),
        ((plain, plain), "port to listen on 80 stands twice"),
        ((ConsoleEntry(key=KEY), ConsoleEntry(key=KEY)), "console stands twice"),
    ):
        with pytest.raises(ValueError, match=said):
            ShieldBlock(entries=entries).serialize()


def test_keys_are_not_shown() -> None:
    listen = ListenEntry(transport=Transport.TLS, port=1, certificates=(b"c",), private_key=b"\x7f" * 32)
    shown = repr((VOLUME, listen, ConsoleEntry(key=KEY)))
    assert "\\x7f" not in shown
    assert repr(KEY) not in shown


@pytest.mark.parametrize(
    ("path", "fault"),
    [("/", False), ("/a", False), ("/a/b.c", False), ("", True), ("a", True), ("//a", True), ("/a/", True),
     ("/./a", True), ("/a\0", True), ("/" + "x" * 4094, False), ("/" + "x" * 4095, True), ("/" + "é" * 2048, True)],
)  # fmt: skip
def test_paths_have_one_reading(path: str, *, fault: bool) -> None:
    assert bool(path_fault(path)) is fault
