"""Parts of the engines that need no kernel: ring-buffer pages, the backlog, the choice."""

import struct
from collections.abc import Sequence

import pytest

from cloister.errors import ObservationError
from cloister.observe.trace.backlog import Backlog, Seen
from cloister.observe.trace.choose import choose_for_process, starts_enclave
from cloister.observe.trace.numbers import NUMBERS
from cloister.observe.trace.ring import lost_events, page_events, parse_format

FORMAT = """name: sched_process_exec
ID: 365
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;
"""


def page(*events: bytes, time: int = 1000, flags: int = 0) -> bytes:
    data = b"".join(events)
    return struct.pack("<QQ", time, len(data) | flags) + data


def short(data: bytes, delta: int) -> bytes:
    return struct.pack("<I", len(data) // 4 | delta << 5) + data


def test_events_get_their_times_from_deltas_and_extensions() -> None:
    extend = struct.pack("<II", 30 | 5 << 5, 1)
    long = struct.pack("<II", 0 | 3 << 5, 8) + b"long"
    events = list(page_events(page(short(b"abcd", 7), extend, long)))
    assert [(event.time, event.data) for event in events] == [(1007, b"abcd"), (1007 + (1 << 27) + 5 + 3, b"long")]


def test_padding_ends_a_page() -> None:
    assert list(page_events(page(short(b"abcd", 1), struct.pack("<I", 29), b"rubbish!"))) != []
    assert len(list(page_events(page(short(b"abcd", 1), struct.pack("<I", 29), short(b"abcd", 1))))) == 1


def test_lost_events_are_noticed() -> None:
    assert lost_events(page(flags=1 << 31))
    assert not lost_events(page())
    assert not lost_events(b"")


def test_a_format_with_a_string_elsewhere() -> None:
    layout = parse_format(FORMAT)
    assert layout.number == 365
    event = struct.pack("<HHiIi", 365, 0, 7, 4 << 16 | 16, 9) + b"/x\0\0"
    assert layout.fields["filename"].text(event) == "/x"
    assert layout.fields["pid"].number(event) == 9


def enter(time: int, name: str, *values: int) -> Seen:
    return Seen(time=time, kind="enter", tid=1, pid=1, values=(NUMBERS[name], *values, *(0,) * (6 - len(values))))


def test_a_descriptor_that_is_closed_later_is_not_trusted_now() -> None:
    backlog = Backlog()
    backlog.add([enter(1, "read", 3), enter(5, "close", 3), enter(9, "read", 4)])
    assert backlog.volatile(1, 3)
    assert not backlog.volatile(1, 4)
    assert backlog.closed_before(1, 3, 6)
    assert not backlog.closed_before(1, 3, 5)
    backlog.take()
    backlog.take()
    assert not backlog.volatile(1, 3)


def test_a_program_that_is_replaced_later_is_not_read_now() -> None:
    backlog = Backlog()
    backlog.add([Seen(time=1, kind="exec", tid=1, pid=1, values=(1,))])
    assert backlog.replaced(1)
    assert backlog.volatile(1, 0)
    backlog.take()
    assert not backlog.replaced(1)


@pytest.mark.parametrize(
    ("argv", "enclave"),
    [
        (["/x/cloister-enclave", "--", "/bin/true"], True),
        (["cloister", "run", "--", "true"], True),
        (["python3", "-m", "cloister", "run", "true"], True),
        (["cloister", "trace", "true"], False),
        (["true"], False),
        ([], False),
    ],
)
def test_an_enclave_is_recognised(argv: Sequence[str], enclave: bool) -> None:  # noqa: FBT001 - a table
    assert starts_enclave(argv) is enclave


def test_a_process_that_does_not_exist() -> None:
    with pytest.raises(ObservationError, match="does not exist"):
        choose_for_process(1 << 30)
