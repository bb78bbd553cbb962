"""The runtime's reports of roots, before a carrier that lies: fsync says that something lasts if the broker said so.

The program and the runtime are real; the carrier, and the broker behind it, are played here.
"""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.forge.carrier import PlayedCarrier, block, send_frame
from tests.integration.runtime_programs.arms import build
from tests.security.victims import read_until

from cloister.broker.root_report import RootReport
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

KEY = bytes(range(100, 132))
NAME = "team/app:/data#000000000000000100000000.0"
DONE, FAILED = "sync: done", "sync: Input/output error"
Answer = Callable[[RootReport], "tuple[int, bytes] | None"]
"""What the carrier sends for a report; None: it closes the connection."""


def honest(report: RootReport) -> tuple[int, bytes]:
    return _abi.FRAME_ROOTED, report.acknowledgement(KEY)


class Reporting(PlayedCarrier):
    """A carrier that starts a program with a volume, and answers its reports as it is told."""

    answer: Answer

    def __init__(self, path: Path, volume: Path, *, reported: bool = True) -> None:
        entry = FilesEntry(
            kind=FileKind.ENCRYPTED, path="/data", container=str(volume), key=KEY, create=True, report_root=reported,
            name=NAME, cache=2 << 20,
        )  # fmt: skip
        shield = ShieldBlock(entries=(entry,)).serialize()
        super().__init__(path, block() + struct.pack("<I", len(shield)) + shield, answers=Reporting.play)
        self.answer, self.reports = honest, list[RootReport]()

    def play(self: PlayedCarrier, connection: socket.socket) -> None:
        assert isinstance(self, Reporting)
        first = connection.recv(8, socket.MSG_PEEK | socket.MSG_WAITALL)
        if int.from_bytes(first[:4], "little") != _abi.FRAME_ROOT:
            self.converse(connection)
            return
        _, body = self.hear(connection)
        self.reports.append(RootReport.parse(body))
        said = self.answer(self.reports[-1])
        if said is not None:
            send_frame(connection, *said)


@contextlib.contextmanager
def writing(carrier: Path, program: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [runtime_path(), f"{_abi.OPTION_ATTESTER}{carrier}", "--", str(program), "notes"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env={}) as process:
        try:
            yield process
        finally:
            process.kill()


def sync(process: "subprocess.Popen[bytes]", text: str = "x") -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"+{text}\n".encode())
    return process.stdout.readline().decode().strip()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("notes"), "notes", "static")


def test_what_is_acknowledged_lasts(tmp_path: Path, program: Path) -> None:
    """The control: an honest carrier. Each report is made with the volume's key, and says a later state."""
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier, writing(tmp_path / "c", program) as process:
        assert [sync(process) for _ in range(3)] == [DONE] * 3
    generations = [report.root.generation for report in carrier.reports]
    assert generations == sorted(set(generations))
    assert len(generations) == 3
    assert all(report.is_made_with(KEY) and report.name == NAME for report in carrier.reports)
    sent = b"".join(body for kind, body in carrier.heard.frames if kind == _abi.FRAME_ROOT)
    assert KEY not in sent


def test_where_nobody_keeps_roots_nothing_is_reported(tmp_path: Path, program: Path) -> None:
    with (
        Reporting(tmp_path / "c", tmp_path / "v", reported=False) as carrier,
        writing(tmp_path / "c", program) as process,
    ):
        assert sync(process) == DONE
    assert not carrier.reports


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


LIES: dict[str, Answer] = {
    "zeros": lambda _: (_abi.FRAME_ROOTED, bytes(32)),
    "the report's own code": lambda report: (_abi.FRAME_ROOTED, report.mac),
    "the first bit": lambda report: (_abi.FRAME_ROOTED, flipped(report.acknowledgement(KEY), 0)),
    "the last bit": lambda report: (_abi.FRAME_ROOTED, flipped(report.acknowledgement(KEY), 255)),
    "a part": lambda report: (_abi.FRAME_ROOTED, report.acknowledgement(KEY)[:31]),
    "more": lambda report: (_abi.FRAME_ROOTED, report.acknowledgement(KEY) + b"\0"),
    "nothing": lambda _: (_abi.FRAME_ROOTED, b""),
    "another key": lambda report: (_abi.FRAME_ROOTED, report.acknowledgement(bytes(32))),
    "another frame": lambda report: (_abi.FRAME_SEALED, report.acknowledgement(KEY)),
    "refused": lambda _: (_abi.FRAME_REFUSED, struct.pack("<I", 4) + b"denied"),
    "undecided": lambda _: (_abi.FRAME_REFUSED, struct.pack("<I", 6) + b"away"),
    "gone": lambda _: None,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_whatever_else_a_carrier_says_nothing_lasts(tmp_path: Path, program: Path, lie: str) -> None:
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier, writing(tmp_path / "c", program) as process:
        carrier.answer = LIES[lie]
        assert [sync(process) for _ in range(2)] == [FAILED] * 2
        carrier.answer = honest
        assert sync(process) == DONE, "the control: the next one is acknowledged"


def test_acknowledgements_that_were_kept_are_none_for_later_states(tmp_path: Path, program: Path) -> None:
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier, writing(tmp_path / "c", program) as process:
        assert sync(process) == DONE
        old = carrier.reports[0].acknowledgement(KEY)
        carrier.answer = lambda _: (_abi.FRAME_ROOTED, old)
        assert sync(process) == FAILED


def test_a_carrier_that_is_gone_is_no_acknowledgement(tmp_path: Path, program: Path) -> None:
    with Reporting(tmp_path / "c", tmp_path / "v"):
        context = writing(tmp_path / "c", program)
        process = context.__enter__()
        assert sync(process) == DONE
    try:
        assert sync(process) == FAILED
        assert process.stdin
        process.stdin.write(b"?\n")
        assert read_until(process, "x")[:1] == ["has:x"], "it is there all the same"
    finally:
        context.__exit__(None, None, None)
