"""Laws of what crosses the border: messages come back the same, and a forged answer is refused or harmless."""

import contextlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.emulate_linux_space import SCRATCH, bench, join

from cloister.emulate.linux.checks import HostLied
from cloister.emulate.linux.console import PlainConsole, SealedConsole, SealedLine, Stream
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.messages import FileStatus, HostCall, HostReply, Operation, split
from cloister.emulate.linux.numbers import NAMES
from cloister.emulate.linux.regions import Region, Regions
from cloister.errors import ParseError
from cloister.measure.image import PAGE, Architecture, Permission

WORD = st.integers(0, (1 << 64) - 1)
READ_WRITE = Permission.READ | Permission.WRITE
ASKING = (
    ("read", (0, SCRATCH, 100)),
    ("write", (1, SCRATCH, 100)),
    ("openat", (-100, b"/tmp/x", 2, 0)),
    ("newfstatat", (-100, b"/tmp/x", SCRATCH, 0)),
    ("statx", (-100, b"/tmp/x", 0, 0, SCRATCH)),
    ("readlinkat", (-100, b"/tmp/x", SCRATCH, 100)),
    ("chdir", (b"/tmp",)),
    ("mkdirat", (-100, b"/tmp/x", 0o700)),
    ("clock_gettime", (1, SCRATCH)),
    ("nanosleep", (SCRATCH, 0)),
    ("poll", (SCRATCH, 0, 1)),
)


@given(st.integers(0, 65535), WORD, WORD, WORD, WORD, st.binary(max_size=300))
def test_requests_come_back_the_same(
    operation: int, sequence: int, first: int, second: int, third: int, data: bytes
) -> None:
    header = HostCall(operation=operation, length=len(data), sequence=sequence, first=first, second=second, third=third)
    message = HostCall.message(operation, sequence, (first, second, third), data)
    assert message == join(header, data)
    assert split(HostCall, message) == (header, data)


@given(st.binary(max_size=200))
def test_an_answer_that_parses_serializes_to_the_same_bytes(message: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert join(*split(HostReply, message)) == message


@given(st.binary(max_size=200))
def test_the_host_answers_whatever_comes(request: bytes) -> None:
    with TemporaryDirectory() as root, LinuxHost(PlainConsole(lambda _size: b"", len), Path(root)) as host:
        split(HostReply, host.serve(request))  # in a directory of its own: it may ask for anything


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, int, bytes]:
    """Error, value and data: small, huge, or like a file's status."""
    status = FileStatus(**{name: draw(st.sampled_from((0, 1, 4096, 0o100644, 1 << 63))) for name in FileStatus.OFFSETS})
    data = draw(st.one_of(st.just(b""), st.binary(max_size=150), st.just(status.serialize())))
    return draw(st.integers(0, 1 << 14)), draw(st.one_of(st.integers(0, 300), WORD)), data


@settings(deadline=None)
@given(st.sampled_from(ASKING), answers())
def test_a_forged_answer_is_refused_or_an_ordinary_one(
    asking: tuple[str, tuple[int | bytes, ...]], answer: tuple[int, int, bytes]
) -> None:
    error, value, data = answer
    error = max(error - 4096, 0)  # half of the answers are no errors

    def forge(request: bytes) -> bytes:
        call, _ = split(HostCall, request)
        header = HostReply(
            operation=call.operation,
            length=len(data),
            sequence=call.sequence,
            error=error,
            value=value,
        )
        return join(header, data)

    program, (name, arguments) = bench(forge), asking
    with contextlib.suppress(HostLied):
        assert program.call(name, *arguments) >= -4095


@settings(deadline=None)
@given(st.sampled_from(ASKING), st.binary(max_size=200))
def test_an_answer_of_any_bytes_is_refused(asking: tuple[str, tuple[int | bytes, ...]], reply: bytes) -> None:
    program, (name, arguments) = bench(lambda _request: reply), asking
    with contextlib.suppress(HostLied):
        program.call(name, *arguments)
        raise AssertionError("random bytes passed for an answer to this very call")


@settings(deadline=None)
@given(st.sampled_from(list(Architecture)), st.integers(0, 460), st.lists(WORD, min_size=6, max_size=6))
def test_any_call_with_any_registers_is_answered(architecture: Architecture, number: int, registers: list[int]) -> None:
    """The host refuses everything; the program may say what it likes."""

    def refuse(request: bytes) -> bytes:
        call, data = split(HostCall, request)
        error = 0 if call.operation == Operation.CONSOLE_WRITE else 1
        del data
        return join(HostReply(operation=call.operation, length=0, sequence=call.sequence, error=error, value=0), b"")

    program = bench(refuse, architecture=architecture, pages=64)
    result = program.shim.call(number, registers)
    assert not isinstance(result, int) or result >= -4095
    assert number in NAMES[architecture] or result == -38


@given(st.lists(st.tuples(st.sampled_from(Stream), st.binary(max_size=80)), max_size=6))
def test_sealed_output_comes_back_the_same(writes: list[tuple[Stream, bytes]]) -> None:
    key, output, errors = os.urandom(32), bytearray(), bytearray()
    line, console = SealedLine(key), SealedConsole(key, lambda _size: b"", output.extend, errors.extend)
    writes = [(stream, data) for stream, data in writes if stream in {Stream.OUTPUT, Stream.ERRORS}]
    for stream, data in writes:
        console.send(line.wrap(stream, data))
    for stream, found in ((Stream.OUTPUT, output), (Stream.ERRORS, errors)):
        assert bytes(found) == b"".join(data for one, data in writes if one is stream)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 8)), max_size=40))
def test_regions_are_what_a_set_of_pages_would_be(steps: list[tuple[bool, int, int]]) -> None:
    regions, pages = Regions(0, 64 * PAGE), set[int]()
    for add, start, count in steps:
        wanted, (low, high) = set(range(start, start + count)), (start * PAGE, (start + count) * PAGE)
        assert regions.is_free(low, high) == (not wanted & pages)
        assert regions.is_covered(low, high) == (wanted <= pages)
        if not add:
            assert sum(part.size for part in regions.cut(low, high)) == len(wanted & pages) * PAGE
            pages -= wanted
        elif regions.is_free(low, high):
            regions.add(Region(low, high, READ_WRITE))
            pages |= wanted
        held = [page for part in regions.over(0, 64 * PAGE) for page in range(part.start // PAGE, part.end // PAGE)]
        assert held == sorted(pages)
