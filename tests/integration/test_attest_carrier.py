"""The carrier as a process beside a real software enclave: whom it believes, what it keeps, when it ends."""

import base64
import contextlib
import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import attested_launch
from tests.services import fake_runtime as say
from tests.services.carrier import Sealing, yes_broker

from cloister.app.measuring import learn_program
from cloister.evidence.software import Guard, parse
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

pytestmark = pytest.mark.needs_runtime

SECRET_WORD = "planted-in-the-environment"
PATIENCE = 20
STARTED: dict[str, Any] = {"do": "started"}
"""The first step of a program that the real runtime has provisioned."""


@functools.cache
def of_python() -> Manifest:
    """What may be code beside the interpreter that runs the fake runtime."""
    modules = "import base64, dataclasses, hashlib, json, os, socket, struct, typing"
    return learn_program(sys.executable, ["-I", "-c", modules], read_files=False, files=[], closed=[]).measured.manifest


class Launched:
    """A program in the enclave with its carrier."""

    def __init__(self, directory: Path, *steps: dict[str, Any], **plan: Any) -> None:
        task = {"key": plan.pop("key", "11" * 32), "steps": steps, "options": plan.pop("options", [])}
        task |= {"wait": True} if plan.pop("wait", False) else {}
        task |= {"attester": True} if STARTED in steps else {}
        manifest = of_python() if STARTED in steps else Manifest()
        given = {
            "manifest": base64.b64encode(manifest.serialize()).decode(), "libraries": manifest.digest.hex(),
            "broker": "http://127.0.0.1:1", "session": "team/shop",
            "host_key": str(directory / "host-key.pem"),
        } | plan  # fmt: skip
        words = [sys.executable, attested_launch.__file__, json.dumps(given), json.dumps(task)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"SECRET_WORD": SECRET_WORD},
        )  # fmt: skip
        self.path = ""

    def line(self) -> Any:
        """What it prints next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode() if self.process.stderr else ""
        return json.loads(line)

    def answer(self) -> tuple[int, bytes]:
        kind, body = self.line()
        return kind, bytes.fromhex(body)

    @property
    def carrier(self) -> int:
        """The process that holds the listening socket."""
        found = [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and listens(entry, self.path)
        ]
        assert len(found) == 1
        return found[0]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def listens(entry: Path, path: str) -> bool:
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(f" {path}")]
    wanted = {f"socket:[{row[6]}]" for row in rows}
    with contextlib.suppress(OSError):
        return any(os.readlink(link) in wanted for link in (entry / "fd").iterdir())
    return False


@contextlib.contextmanager
def launched(directory: Path, *steps: dict[str, Any], **plan: Any) -> Iterator[Launched]:
    made = Launched(directory, *steps, **plan)
    try:
        made.path = made.line()
        yield made
    finally:
        made.end()
        wait_until(lambda: not made.path or not Path(made.path).parent.exists())


def wait_until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def words(answer: tuple[int, bytes]) -> str:
    assert answer[0] == say.REFUSED, answer
    return answer[1][4:].decode()


def test_a_program_that_greets_in_the_runtimes_place_is_refused(tmp_path: Path) -> None:
    """It was never measured, runs in an enclave that lets any code in, and states what the session wants to hear."""
    with yes_broker() as broker:
        for options in ([], ["--unsafe-no-guard"]):
            steps = {"do": "start"}, {"do": "evidence"}, {"do": "refresh"}
            with launched(tmp_path, *steps, broker=broker, options=options) as made:
                assert "greets under a seccomp filter" in words(made.answer())
                assert "not been attested" in words(made.answer())
                assert "not been attested" in words(made.answer())


def test_evidence_is_for_the_first_statement_and_for_the_whole_tree(tmp_path: Path) -> None:
    """A broker that is away ends the start; so this one says yes, and then the tree asks."""
    with yes_broker(Sealing) as broker:
        steps: list[dict[str, Any]] = [
            STARTED,
            {"do": "evidence", "child": 1},
            {"do": "evidence"},
            {"do": "start", "child": 1},
        ]
        steps.append({"do": "refresh", "executable": "00" * 32})
        with launched(tmp_path, *steps, broker=broker) as made:
            assert made.answer()[0] == say.SEALED
            for _ in range(2):
                kind, body = made.answer()
                assert kind == say.EVIDENCE, body
                found = parse(body)
                assert found.guard is Guard.ARMED
                assert found.executable == digest(sys.executable)
                assert found.runtime == digest(runtime_path())
            assert "not the one that this attester was started for" in words(made.answer())
            assert "another program" in words(made.answer())
            assert "does not execute" in words(ask(made.path))


def digest(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


def ask(path: str) -> tuple[int, bytes]:
    """From this process, which belongs to no tree."""
    return say.FakeRuntime(path).evidence()


def test_another_enclave_of_the_same_user_is_refused(tmp_path: Path) -> None:
    """The same runtime, guarded: by another guard."""
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker, wait=True) as made:
        assert made.answer()[0] == say.SEALED
        task = json.dumps(
            {"path": made.path, "key": "22" * 32, "steps": [{"do": one} for one in ("evidence", "refresh", "start")]}
        )
        command = [runtime_path(), "--", sys.executable, "python3", "-I", say.__file__, task]
        other = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
        for line in other.stdout.splitlines():
            kind, body = json.loads(line)
            assert "started for" in words((kind, bytes.fromhex(body)))


def test_it_keeps_no_stream_descriptor_argument_or_variable_of_the_program(tmp_path: Path) -> None:
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker, wait=True) as made:
        assert made.answer()[0] == say.SEALED
        place = Path("/proc", str(made.carrier))
        assert [os.readlink(place / "fd" / str(number)) for number in range(3)] == ["/dev/null"] * 3
        ours = {
            os.readlink(f"/proc/self/fd/{stream.fileno()}")
            for stream in (made.process.stdin, made.process.stdout)
            if stream
        }
        assert not ours & {os.readlink(link) for link in (place / "fd").iterdir()}
        assert SECRET_WORD.encode() not in (place / "environ").read_bytes()
        assert b"fake_runtime" not in (place / "cmdline").read_bytes()
        assert os.getsid(made.carrier) != os.getsid(0)
        assert os.getpgid(made.carrier) != os.getpgid(made.process.pid)
        assert os.readlink(place / "cwd") == "/"
        children = Path(f"/proc/{made.process.pid}/task/{made.process.pid}/children").read_text().split()
        assert str(made.carrier) not in children


def test_command_substitution_does_not_wait_for_it(tmp_path: Path) -> None:
    """The pipe ends with the program, though the program's child, and so the carrier, lives on."""
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker) as made:
        made.answer()
        assert made.process.stdout is not None
        assert made.process.stdout.read() == b""
        made.process.wait(PATIENCE)


def test_it_ends_with_the_tree(tmp_path: Path) -> None:
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker, wait=True) as made:
        made.answer()
        carrier = made.carrier
        made.process.kill()
        wait_until(lambda: not Path(f"/proc/{carrier}").exists())
        assert not Path(made.path).parent.exists()


def test_it_ends_if_the_runtime_never_speaks(tmp_path: Path) -> None:
    with launched(tmp_path, wait=True) as made:
        carrier = made.carrier
        made.process.kill()
        wait_until(lambda: not Path(f"/proc/{carrier}").exists())
        assert not Path(made.path).parent.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal_it_removes_its_socket(tmp_path: Path, number: signal.Signals) -> None:
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker, wait=True) as made:
        made.answer()
        carrier = made.carrier
        os.kill(carrier, number)
        wait_until(lambda: not Path(f"/proc/{carrier}").exists())
        assert not Path(made.path).parent.exists()
        assert made.process.poll() is None, "the program goes on"


def test_killed_it_leaves_the_program_and_answers_nobody(tmp_path: Path) -> None:
    with yes_broker(Sealing) as broker, launched(tmp_path, STARTED, broker=broker, wait=True) as made:
        made.answer()
        os.kill(made.carrier, signal.SIGKILL)
        wait_until(lambda: refuses(made.path))
        assert made.process.poll() is None
        Path(made.path).unlink()
        Path(made.path).parent.rmdir()


def refuses(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(path) != 0


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"broker": "broker"}, "UsageError: --broker broker: give https://HOST:PORT"),
        ({"verifier": "x"}, "UsageError: --verifier x: give"),
        ({"ca": "/nonexistent.pem"}, "UsageError: --ca /nonexistent.pem"),
        ({"host_key": "/dev/null"}, "UsageError: /dev/null is no file"),
        ({"flow": "/nonexistent/flow"}, "UsageError: --flow /nonexistent/flow"),
        ({"libraries": "no digits"}, "LaunchError: the attester cannot start"),
        ({"starter": 0}, "LaunchError: process 0 cannot be looked at"),
        ({"starter": 1 << 30}, "LaunchError: process 1073741824"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(tmp_path: Path, plan: dict[str, Any], said: str) -> None:
    made = Launched(tmp_path, **plan)
    try:
        out, errors = made.process.communicate(timeout=PATIENCE)
    finally:
        made.end()
    assert said in errors.decode()
    assert out == b""
