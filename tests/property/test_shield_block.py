"""The shield block: what is written is read again, and no other bytes are."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ParseError
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, Entry, FilesEntry, ListenEntry
from cloister.shield_policy.words import FileKind, Transport

KEYS = st.binary(min_size=32, max_size=32).filter(any)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
PARTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=9)
PATHS = st.lists(PARTS.filter(lambda one: one not in {".", ".."}), min_size=1, max_size=4).map(
    lambda x: f"/{'/'.join(x)}"
)
LENGTHS = st.integers(0, (1 << 64) - 1)
PINS = st.lists(KEYS, max_size=3).map(tuple)
PORTS = st.integers(1, 65535)
CERTIFICATES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3).map(tuple)


@st.composite
def files(draw: st.DrawFn) -> FilesEntry:
    kind = draw(st.sampled_from(FileKind))
    if not kind.on_a_volume:
        cache = draw(LENGTHS) if kind is FileKind.MEMORY else 0
        return FilesEntry(kind=kind, path=draw(PATHS), read_only=draw(st.booleans()), cache=cache, name=draw(NAMES))
    read_only, generation = draw(st.booleans()), draw(LENGTHS)
    return FilesEntry(
        kind=kind, path=draw(PATHS), container=draw(PATHS), key=draw(KEYS), read_only=read_only,
        create=not read_only and draw(st.booleans()), report_root=draw(st.booleans()), generation=generation,
        digest=draw(KEYS) if generation else bytes(32),
        writer=draw(KEYS)[:16] if generation else bytes(16), cache=draw(LENGTHS), name=draw(NAMES),
    )  # fmt: skip


@st.composite
def ports(draw: st.DrawFn) -> ListenEntry:
    transport = draw(st.sampled_from(Transport))
    tls = transport is Transport.TLS
    clients = () if transport is Transport.PLAIN else draw(PINS)
    return ListenEntry(
        transport=transport, port=draw(PORTS), needs_client=bool(clients),
        certificates=draw(CERTIFICATES) if tls else (),
        private_key=draw(KEYS) if tls else b"", clients=clients, name=draw(NAMES),
    )  # fmt: skip


@st.composite
def peers(draw: st.DrawFn) -> ConnectEntry:
    transport = draw(st.sampled_from(Transport))
    own = transport is Transport.TLS and draw(st.booleans())
    return ConnectEntry(
        transport=transport, host=draw(st.sampled_from(["", "127.0.0.1", "::1"])), port=draw(PORTS), name=draw(NAMES),
        server_name="" if transport is Transport.PLAIN else draw(NAMES),
        pins=() if transport is Transport.PLAIN else draw(PINS), certificates=draw(CERTIFICATES) if own else (),
        private_key=draw(KEYS) if own else b"",
    )  # fmt: skip


@st.composite
def consoles(draw: st.DrawFn) -> ConsoleEntry:
    screen = draw(st.one_of(st.none(), st.tuples(PORTS, PORTS)))
    rows, columns = screen or (0, 0)
    return ConsoleEntry(key=draw(KEYS), terminal=screen is not None, rows=rows, columns=columns)


@st.composite
def blocks(draw: st.DrawFn) -> ShieldBlock:
    regions = draw(st.lists(files(), max_size=3, unique_by=(lambda x: x.path, lambda x: x.container or x.path)))
    found: list[Entry] = [
        *regions, *draw(st.lists(ports(), max_size=2, unique_by=lambda x: x.port)),
        *draw(st.lists(peers(), max_size=2, unique_by=lambda x: (x.host, x.port))),
        *draw(st.lists(consoles(), max_size=1)),
    ]  # fmt: skip
    return ShieldBlock(strict=draw(st.booleans()), network=draw(st.booleans()), entries=tuple(found))


@given(blocks())
def test_what_is_written_is_read_again(block: ShieldBlock) -> None:
    assert ShieldBlock.parse(block.serialize()) == block


@given(blocks(), st.data())
def test_no_part_of_a_block_is_a_block(block: ShieldBlock, data: st.DataObject) -> None:
    whole = block.serialize()
    with pytest.raises(ParseError):
        ShieldBlock.parse(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ParseError):
        ShieldBlock.parse(whole + b"\0")


@given(blocks(), st.data())
def test_what_else_is_read_is_written_as_it_was(block: ShieldBlock, data: st.DataObject) -> None:
    """One form for each block: whatever bytes a reader takes are those that a writer makes."""
    changed = bytearray(block.serialize())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ParseError):
        assert ShieldBlock.parse(bytes(changed)).serialize() == bytes(changed)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        ShieldBlock.parse(data)
