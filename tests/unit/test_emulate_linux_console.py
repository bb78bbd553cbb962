"""The console's two forms, from the owner's hands to the program's descriptors and back."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.emulate_linux_space import SCRATCH, bench

from cloister.emulate.linux.checks import HostLied
from cloister.emulate.linux.console import (
    LARGEST_INPUT,
    Direction,
    Half,
    PlainConsole,
    SealedConsole,
    SealedLine,
    Stream,
)
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.messages import HostCall, split
from cloister.emulate.linux.process import ShimOptions

SECRET = b"a secret that only owner and program know"


def typing(*lines: bytes) -> SealedConsole:
    rest = list(lines)
    return SealedConsole(os.urandom(32), lambda _size: rest.pop(0) if rest else b"", lambda _data: None)


def test_a_sealed_console_shows_the_host_no_plaintext() -> None:
    key, output, errors = os.urandom(32), bytearray(), bytearray()
    typed = [SECRET + b"\n"]
    console = SealedConsole(key, lambda _size: typed.pop() if typed else b"", output.extend, errors.extend)
    host, seen = LinuxHost(console), bytearray()

    def watched(request: bytes) -> bytes:
        reply = host.serve(request)
        seen.extend(request + reply)
        return reply

    program = bench(watched, ShimOptions(console_key=key))
    assert program.call("read", 0, SCRATCH, 100) == len(SECRET) + 1
    assert program.memory(len(SECRET)) == SECRET
    assert program.call("read", 0, SCRATCH, 100) == 0
    assert program.call("write", 1, b"out: " + SECRET, 5 + len(SECRET)) == 5 + len(SECRET)
    assert program.call("write", 2, b"err: " + SECRET, 5 + len(SECRET)) == 5 + len(SECRET)
    assert (bytes(output), bytes(errors)) == (b"out: " + SECRET, b"err: " + SECRET)
    assert SECRET[:8] not in seen
    assert console.ended is None
    program.outcome("exit_group", 7)
    assert console.ended == 7


def test_a_plain_console_is_what_the_host_reads() -> None:
    output = bytearray()
    console = PlainConsole(lambda _size: SECRET, output.extend)
    host, seen = LinuxHost(console), bytearray()

    def watched(request: bytes) -> bytes:
        reply = host.serve(request)
        seen.extend(request + reply)
        return reply

    program = bench(watched)
    assert program.call("read", 0, SCRATCH, 100) == len(SECRET)
    assert program.call("write", 1, SCRATCH, len(SECRET)) == len(SECRET)
    assert seen.count(SECRET) == 2
    program.outcome("exit_group", 3)
    assert (bytes(output), console.ended) == (SECRET, 3)


def test_a_terminal_answers_ioctl_only_when_it_is_one() -> None:
    host = LinuxHost(PlainConsole(lambda _size: b"", len))
    program = bench(host.serve, ShimOptions(unsafe_plain_console=True, interactive=True))
    assert program.call("ioctl", 1, 0x5401, SCRATCH) == 0
    assert program.call("ioctl", 1, 0x5413, SCRATCH) == 0
    assert program.memory(4) == bytes((24, 0, 80, 0))
    assert program.call("fstat", 1, SCRATCH) == 0
    assert int.from_bytes(program.memory(4, SCRATCH + 24), "little") & 0o170000 == 0o020000


def test_records_hold_what_fits_and_keys_have_32_bytes() -> None:
    line = SealedLine(bytes(range(32)))
    assert len(line.wrap(Stream.OUTPUT, bytes(LARGEST_INPUT))) == LARGEST_INPUT + 32
    with pytest.raises(ValueError, match="a record holds"):
        line.wrap(Stream.OUTPUT, bytes(LARGEST_INPUT + 1))
    with pytest.raises(ValueError, match="32 bytes"):
        SealedLine(b"short")


def test_a_callable_that_gives_too_much_is_an_error_of_the_call() -> None:
    console = PlainConsole(lambda _size: bytes(1 << 20), len)
    program = bench(LinuxHost(console).serve)
    assert program.call("read", 0, SCRATCH, 100) == -22


def test_the_owner_notices_output_from_somebody_else() -> None:
    console = typing()
    with pytest.raises(HostLied, match="not a sealed console record"):
        console.send(b"Please type your password again: ")
    with pytest.raises(HostLied, match="does not authenticate"):
        console.send(SealedLine(os.urandom(32)).wrap(Stream.OUTPUT, b"x"))


def test_only_input_is_taken_as_input() -> None:
    key = os.urandom(32)
    record = Half(AESGCM(key), Direction.INWARD).seal(Stream.OUTPUT, b"x")
    with pytest.raises(HostLied, match="stream 1 as input"):
        SealedLine(key).unwrap(record)


def test_requests_name_what_they_are() -> None:
    requests: list[bytes] = []
    host = LinuxHost(PlainConsole(lambda _size: b"", len))

    def watched(request: bytes) -> bytes:
        requests.append(request)
        return host.serve(request)

    program = bench(watched)
    program.call("write", 1, b"text", 4)
    call, data = split(HostCall, requests[-1])
    assert (call.operation, call.sequence, data) == (2, 1, b"\x01text")
