"""The runtime's reports of roots, before a carrier that lies: fsync says that something lasts if the broker said so.

The program and the runtime are real; the carrier, and the broker behind it, are played here.
"""

import contextlib
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.forge.carrier import PlayedCarrier, block, send_frame
from tests.integration.runtime_programs.arms import build
from tests.security.victims import read_until

from cloister.broker.root_report import RootReport, StartName
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

KEY = bytes(range(100, 132))
NAME = "team/app:/data#000000000000000100000000.0"
ENTRY = FilesEntry(
    kind=FileKind.ENCRYPTED,
    path="/data",
    container="/v",
    key=KEY,
    create=True,
    report_root=True,
    name=NAME,
    cache=2 << 20,
)
DONE, FAILED = "sync: done", "sync: Input/output error"
Answer = Callable[[RootReport], "tuple[int, bytes] | None"]
"""What the carrier sends for a report; None: it closes the connection."""


def honest(report: RootReport) -> tuple[int, bytes]:
    return _abi.FRAME_ROOTED, report.acknowledgement(KEY)


class Reporting(PlayedCarrier):
    """A carrier that starts a program with a volume, and answers its reports as it is told."""

    answer: Answer

    def __init__(self, path: Path, volume: Path, **changes: Any) -> None:
        entry = replace(ENTRY, container=str(volume), **changes)
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
def writing(carrier: Path, program: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [runtime_path(), f"{_abi.OPTION_ATTESTER}{carrier}", "--", str(program), "notes", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env={}) as process:
        try:
            yield process
        finally:
            process.kill()


def begin(process: "subprocess.Popen[bytes]", text: str = "") -> None:
    """Wait until the volume is open: from then on it is this start's, and the broker knows that."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"?\n")
    assert process.stdout.readline().decode() == f"has:{text}\n"


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
    assert len(generations) == 4, "the first one when the volume was opened"
    assert all(report.is_made_with(KEY) and report.name == NAME for report in carrier.reports)
    sent = b"".join(body for kind, body in carrier.heard.frames if kind == _abi.FRAME_ROOT)
    assert KEY not in sent


def test_where_nobody_keeps_roots_nothing_is_reported(tmp_path: Path, program: Path) -> None:
    with (
        Reporting(tmp_path / "c", tmp_path / "v", report_root=False) as carrier,
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
        begin(process)
        carrier.answer = LIES[lie]
        assert [sync(process) for _ in range(2)] == [FAILED] * 2
        carrier.answer = honest
        assert sync(process) == DONE, "the control: the next one is acknowledged"


@pytest.mark.parametrize("lie", LIES)
def test_a_volume_that_is_nobody_s_yet_is_not_opened(tmp_path: Path, program: Path, lie: str) -> None:
    """Before anything is written the broker knows whose the volume is: else nothing is."""
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier:
        carrier.answer = LIES[lie]
        with writing(tmp_path / "c", program) as process:
            assert process.stdout
            assert process.stdout.readline().startswith(b"open: ")


@pytest.mark.parametrize("lie", LIES)
def test_a_volume_that_was_not_opened_is_opened_later(tmp_path: Path, program: Path, lie: str) -> None:
    """The broker is asked again, by the same process: what was wrong once need not be so for good."""
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier:
        carrier.answer = LIES[lie]
        with writing(tmp_path / "c", program, "patient") as process:
            assert process.stdin
            assert process.stdout
            for _ in range(2):
                assert process.stdout.readline() == b"open: Input/output error\n"
                process.stdin.write(b"again\n")
            assert process.stdout.readline() == b"open: Input/output error\n"
            carrier.answer = honest
            process.stdin.write(b"again\n")
            assert sync(process) == DONE
            begin(process, "x")


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


# ---- what a later start takes


def told(carrier: Reporting, *, acknowledged: int) -> dict[str, Any]:
    """What the next start is told, if the broker has kept so many of the reports."""
    root = carrier.reports[acknowledged - 1].root
    writer = StartName.parse(NAME).writer
    name = NAME.replace("1000", "2000").replace(".0", f".{root.generation}")
    return {"create": False, "generation": root.generation, "digest": root.digest, "writer": writer, "name": name}


def first_words(carrier: Path, program: Path) -> str:
    with writing(carrier, program) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"?\n")
        return process.stdout.readline().decode().strip()


def test_a_state_that_nobody_acknowledged_is_taken_after_a_crash(tmp_path: Path, program: Path) -> None:
    """It is by the start that the broker knows, so it goes back to what was acknowledged."""
    with Reporting(tmp_path / "c", tmp_path / "v") as carrier, writing(tmp_path / "c", program) as process:
        assert sync(process, "one") == DONE
        carrier.answer = LIES["gone"]
        assert sync(process, "two") == FAILED
        process.kill()
    with Reporting(tmp_path / "c2", tmp_path / "v", **told(carrier, acknowledged=2)) as later:
        assert first_words(tmp_path / "c2", program) == "has:one"
    (report,) = later.reports
    assert report.root.generation > carrier.reports[1].root.generation, "the state of the crash, taken over"


def test_a_copy_that_ran_ahead_without_acknowledgement_is_not_taken(tmp_path: Path, program: Path) -> None:
    """The host starts the program on a copy, keeps its reports back, and puts the copy in the volume's place."""
    volume, copy = tmp_path / "v", tmp_path / "w"
    with Reporting(tmp_path / "c", volume) as first, writing(tmp_path / "c", program) as process:
        assert sync(process, "one") == DONE
    shutil.copy(volume, copy)
    kept = told(first, acknowledged=2)
    ahead = kept | {"name": kept["name"].replace("2000", "1fff")}
    with Reporting(tmp_path / "c2", copy, **ahead) as keeping, writing(tmp_path / "c2", program) as process:
        begin(process, "one")
        keeping.answer = LIES["gone"]
        assert [sync(process, "copied") for _ in range(5)] == [FAILED] * 5
    with Reporting(tmp_path / "c3", volume, **kept) as honest, writing(tmp_path / "c3", program) as process:
        assert sync(process, "two") == DONE
    last = honest.reports[-1].root
    newest = {
        "create": False, "generation": last.generation, "digest": last.digest,
        "writer": StartName.parse(kept["name"]).writer, "name": kept["name"].replace("2000", "3000"),
    }  # fmt: skip
    with Reporting(tmp_path / "c4", copy, **newest):
        assert first_words(tmp_path / "c4", program).startswith("open: "), "a later generation, but of another history"
    with Reporting(tmp_path / "c5", volume, **newest):
        assert first_words(tmp_path / "c5", program) == "has:one", "the control"
