"""The carrier's conversations, with a runtime and a broker that are not real: what is answered, what is refused."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from tests.forge.x509 import NOW
from tests.services import fake_runtime as say
from tests.services.carrier import LIBRARIES, MANIFEST, FakeSource, carrier
from tests.services.fake_runtime import FakeRuntime, frame, receive

from cloister.attest import SOCKET_VARIABLE, evidence
from cloister.attest.broker_client import Challenge
from cloister.attest.flow import Flow
from cloister.attest.frames import Statement
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import Denied, NotAttested, Undecided, UsageError
from cloister.evidence.software import Admission, Guard, libraries_digest, parse
from cloister.model import Challenge as Nonce
from cloister.model import Tee
from cloister.verification.recipe import Allowances
from cloister.verification.software import verify

EXECUTABLE = FakeRuntime("").executable
SYSTEM_PYTHON = "/usr/bin/python3"
REPORT = struct.pack("<I", 20) + b"team/app:/data#0.0  " + bytes(72)


def refused(answer: tuple[int, bytes]) -> str:
    kind, body = answer
    assert kind == say.REFUSED, answer
    text = body[4:].decode()
    words = {"denied": Denied, "not attested": NotAttested, "undecided": Undecided}
    code = words.get(text.partition(":")[0], UsageError).exit_code
    assert struct.unpack_from("<I", body) == (code,)
    return text


def test_a_program_gets_what_was_sealed_to_its_key(tmp_path: Path) -> None:
    source = FakeSource(sealed=b"k" * 32 + b"ciphertext")
    with carrier(tmp_path, source) as made:
        runtime = made.runtime()
        assert runtime.start() == (say.SEALED, b"k" * 32 + b"ciphertext")
        found = parse(source.evidence[0])
        assert found.report_data == runtime.report_data(runtime.key)
        assert (found.executable, found.libraries) == (EXECUTABLE, libraries_digest(LIBRARIES))
        assert (found.guard, found.admission, found.loaded) == (Guard.OFF, Admission.STRICT, bytes(32))
        assert found.kernel == os.uname().release
        assert found.boot_id.hex() == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        anchors = TrustAnchors.of([made.key.spki], kind=AnchorKind.SOFTWARE, name="host", tees=[Tee.SOFTWARE])
        verify(
            found, anchors=anchors, endorsements=Endorsements(keys=(made.key.spki,)), at=NOW,
            challenge=Nonce(found.report_data), allow=Allowances(unsafe_allow_debug=True),
        )  # fmt: skip


def test_a_running_program_asks_again_and_for_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    with carrier(tmp_path, source) as made:
        runtime = made.runtime()
        runtime.start()
        source.sealed, source.nonce, runtime.key = b"rotated", "YW5vdGhlcg==", bytes(32)
        assert runtime.refresh() == (say.SEALED, b"rotated")
        assert len(source.evidence) == 2
        monkeypatch.setenv(SOCKET_VARIABLE, made.path)
        found = parse(evidence(b"of my own"))
        assert found.report_data == b"of my own".ljust(64, b"\0")
        assert (found.executable, found.libraries) == (EXECUTABLE, libraries_digest(LIBRARIES))
        with pytest.raises(UsageError, match="room for 64"):
            evidence(bytes(65))


def test_without_an_attester_there_is_no_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="cloister run --broker"):
        evidence(b"")
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "nobody"))
    with pytest.raises(Undecided):
        evidence(b"")
    with carrier(tmp_path, FakeSource()) as made:
        monkeypatch.setenv(SOCKET_VARIABLE, made.path)
        with pytest.raises(NotAttested, match="has not been attested yet"):
            evidence(b"")


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (Denied("the session says no"), "denied: the session says no"),
        (NotAttested("no key"), "not attested: no key"),
        (Undecided("the database is away"), "undecided: the database is away"),
        (UsageError("no such name"), "no such name"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "undecided: the attester failed: Connection reset by peer",
        ),
        (ZeroDivisionError("a secret"), "undecided: the attester failed: ZeroDivisionError"),
    ],
)
def test_a_refusal_comes_in_words_and_is_the_end(tmp_path: Path, failure: Exception, word: str) -> None:
    """After a start that failed, nobody can speak in the runtime's place."""
    with carrier(tmp_path, FakeSource(failure=failure)) as made:
        runtime = made.runtime()
        assert refused(runtime.start()) == word
        assert "once only" in refused(runtime.start())
        assert "not been attested" in refused(runtime.refresh())
        assert "not been attested" in refused(runtime.evidence())
    with carrier(tmp_path, FakeSource(at_challenge=failure)) as made:
        assert refused(made.runtime().start()) == word


def test_a_second_statement_is_refused(tmp_path: Path) -> None:
    with carrier(tmp_path, FakeSource()) as made:
        runtime = made.runtime()
        runtime.start()
        assert "once only" in refused(runtime.start())
        assert "another program" in refused(runtime.refresh(executable=bytes(32)))
        lying = replace(runtime, libraries=bytes(32))
        assert "another program" in refused(lying.refresh())
        assert parse(runtime.evidence()[1]).executable == EXECUTABLE


def test_a_statement_about_other_libraries_is_refused(tmp_path: Path) -> None:
    source = FakeSource()
    with carrier(tmp_path, source) as made:
        assert "another list of files" in refused(made.runtime(libraries=bytes(32)).start())
    assert not source.evidence


def test_report_data_over_another_key_are_refused(tmp_path: Path) -> None:
    """Else a carrier that is asked to could put its own key into the enclave's evidence."""
    source = FakeSource()
    with carrier(tmp_path, source) as made:
        assert "do not bind" in refused(made.runtime().start(key=bytes(32)))
    assert not source.evidence


def test_a_guard_that_is_not_there_is_not_vouched_for(tmp_path: Path) -> None:
    with carrier(tmp_path, FakeSource()) as made:
        assert "nothing traces it" in refused(made.runtime(flags=1).start())


def test_a_process_that_is_not_the_runtime_is_refused(tmp_path: Path) -> None:
    with carrier(tmp_path, FakeSource(), runtime="/bin/true") as made:
        assert "does not execute /bin/true" in refused(made.runtime().start())


def test_a_process_that_was_not_started_for_it_is_refused(tmp_path: Path) -> None:
    """Same user, same program: but not the process that the carrier was told."""
    with carrier(tmp_path, FakeSource()) as made:
        assert "not the one that this attester was started for" in refused(from_another_process(made.path, "start"))
        assert made.runtime().start()[0] == say.SEALED
        for step in ("start", "refresh", "evidence", "root"):
            assert "started for" in refused(from_another_process(made.path, step))


def from_another_process(path: str, step: str) -> tuple[int, bytes]:
    steps = [{"do": step, "report": REPORT.hex()}]
    task = json.dumps({"path": path, "key": "11" * 32, "flags": 0, "steps": steps})
    command = [sys.executable, say.__file__, task]
    kind, body = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return kind, bytes.fromhex(body)


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (frame(say.HELLO, struct.pack("<II", 2, 0)), "not understood: HELLO: version"),
        (frame(say.HELLO, struct.pack("<II", 1, 6)), "not understood: HELLO: flags"),
        (frame(say.HELLO, bytes(9)), "not understood: frame: size"),
        (frame(say.HELLO, b"", 1 << 31), "not understood: frame: size"),
        (frame(say.STATEMENT, bytes(96)), "out of order"),
        (frame(say.MANIFEST, b""), "out of order"),
        (frame(say.SEALED, bytes(100)), "out of order"),
        (frame(say.REFUSED, bytes(4)), "out of order"),
        (frame(say.ROOTED, bytes(32)), "out of order"),
        (frame(say.ROOT, bytes(76)), "not understood: frame: size"),
        (frame(say.ROOT, bytes(2125)), "not understood: frame: size"),
        (frame(77, b""), "not known"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not known"),
        (frame(say.HELLO, bytes(4), 8), "ended after 4 of 8"),
    ],
)  # fmt: skip
def test_hostile_first_frames_are_refused_and_change_nothing(tmp_path: Path, sent: bytes, word: str) -> None:
    with carrier(tmp_path, FakeSource()) as made:
        runtime = made.runtime()
        with runtime.connect() as line:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            assert word in refused(receive(line))
        assert runtime.start()[0] == say.SEALED


@pytest.mark.parametrize(
    ("second", "word"),
    [
        (frame(say.QUOTE, bytes(64)), "out of order"),
        (frame(say.STATEMENT, bytes(97)), "frame: size"),
        (frame(say.STATEMENT, b"", 96), "ended after 0 of 96"),
        (frame(say.HELLO, struct.pack("<II", 1, 0)), "out of order"),
        (b"", ""),
    ],
)
def test_a_start_that_goes_wrong_is_the_only_one(tmp_path: Path, second: bytes, word: str) -> None:
    source = FakeSource()
    with carrier(tmp_path, source) as made:
        runtime = made.runtime()
        with runtime.connect() as line:
            line.sendall(frame(say.HELLO, struct.pack("<II", 1, 0)))
            assert receive(line)[0] == say.MANIFEST
            line.sendall(second)
            line.shutdown(socket.SHUT_WR)
            assert receive(line)[0] == 0 if not second else word in refused((say.REFUSED, receive_refusal(line)))
        assert "once only" in refused(runtime.start())
        assert "not been attested" in refused(runtime.evidence())
    assert not source.evidence


def receive_refusal(line: socket.socket) -> bytes:
    kind, body = receive(line)
    assert kind == say.REFUSED
    return body


def test_who_connects_and_is_silent_is_turned_away(tmp_path: Path) -> None:
    with carrier(tmp_path, FakeSource(), first_seconds=0.2) as made:
        with made.runtime().connect() as line:
            began = time.monotonic()
            assert "timed out" in refused(receive(line))
            assert time.monotonic() - began < 5
        assert made.runtime().start()[0] == say.SEALED


def test_many_connections_do_not_make_many_threads(tmp_path: Path) -> None:
    with carrier(tmp_path, FakeSource(), first_seconds=5) as made:
        runtime = made.runtime()
        before = threading.active_count()
        lines = [runtime.connect() for _ in range(40)]
        try:
            deadline = time.monotonic() + 5
            while threading.active_count() < before + 16 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert "too many" in refused(receive(lines[-1]))
            assert threading.active_count() <= before + 16
        finally:
            for line in lines:
                line.close()
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert runtime.start()[0] == say.SEALED


CROWD = """
import socket, sys
lines = []
for _ in range(60):
    lines.append(socket.socket(socket.AF_UNIX))
    lines[-1].connect(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


def test_strangers_do_not_keep_the_program_away(tmp_path: Path) -> None:
    """Another process of the same user connects many times and says nothing: it is turned away before it is heard."""
    with carrier(tmp_path, FakeSource(), first_seconds=20) as made:
        command = [sys.executable, "-c", CROWD, made.path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
            try:
                assert crowd.stdout is not None
                assert crowd.stdout.readline() == b"\n"
                assert made.runtime().start()[0] == say.SEALED
            finally:
                crowd.kill()


@pytest.mark.needs_root
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason="no Python that every user may execute")
def test_a_process_of_another_user_is_refused_even_if_it_got_the_socket(tmp_path: Path) -> None:
    """It cannot enter the directory; and a connection that it made anyway is refused by its credentials."""
    with carrier(tmp_path, FakeSource()) as made:
        directory = Path(made.path).parent
        assert directory.stat().st_mode & 0o777 == 0o700
        task = json.dumps({"path": made.path, "key": "11" * 32, "flags": 0, "steps": [{"do": "start"}]})
        command = [SYSTEM_PYTHON, "-c", Path(say.__file__).read_text(), task]
        denied = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
        assert b"PermissionError" in denied.stderr
        directory.chmod(0o777)
        Path(made.path).chmod(0o777)
        let_in = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
        assert "of user 65534 asks" in bytes.fromhex(json.loads(let_in.stdout)[1]).decode()


def test_the_flow_has_every_message_and_no_content(tmp_path: Path) -> None:
    record = StringIO()
    with carrier(tmp_path, FakeSource(sealed=b"planted-ciphertext"), flow=Flow(record)) as made:
        made.runtime().start()
        made.runtime().evidence()
    lines = [json.loads(line) for line in record.getvalue().splitlines()]
    assert [(one["from"], one["to"], one["kind"]) for one in lines] == [
        ("runtime", "carrier", "HELLO"), ("carrier", "runtime", "MANIFEST"), ("runtime", "carrier", "STATEMENT"),
        ("carrier", "runtime", "NONCE"), ("runtime", "carrier", "QUOTE"), ("carrier", "runtime", "SEALED"),
        ("program", "carrier", "EVIDENCE_WANTED"), ("carrier", "program", "EVIDENCE"),
    ]  # fmt: skip
    assert [one["size"] for one in lines][:6] == [8, len(MANIFEST), 96, 8, 64, 18]
    assert "planted" not in record.getvalue()
    assert all(len(one["sha256"]) == 64 and one["time"].endswith("+00:00") for one in lines)


def test_a_broker_that_is_away_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """A program that opens its files does not wait for it each time."""
    source, away = FakeSource(), Undecided("the broker is away")
    with carrier(tmp_path, source, pause=0.5) as made:
        runtime = made.runtime()
        runtime.start()
        source.at_challenge = away
        assert "the broker is away" in refused(runtime.refresh())
        source.at_challenge = Denied("no more")
        assert "did not answer a moment ago" in refused(runtime.refresh())
        time.sleep(0.6)
        for _ in range(2):
            assert "denied: no more" in refused(runtime.refresh())
        source.at_challenge = None
        assert runtime.refresh()[0] == say.SEALED


def test_roots_of_volumes_are_carried_to_the_broker_and_back(tmp_path: Path) -> None:
    source, record = FakeSource(acknowledged=bytes([7]) * 32), StringIO()
    with carrier(tmp_path, source, pause=0.5, flow=Flow(record)) as made:
        runtime = made.runtime()
        assert not source.reports
        runtime.start()
        assert runtime.root(REPORT) == (say.ROOTED, bytes([7]) * 32)
        assert source.reports == [REPORT]
        source.failure = Denied("not the newest")
        assert "denied: not the newest" in refused(runtime.root(REPORT))
        source.failure = Undecided("the broker is away")
        assert "undecided: the broker is away" in refused(runtime.root(REPORT))
        source.failure = None
        assert "did not answer a moment ago" in refused(runtime.root(REPORT))
        time.sleep(0.6)
        assert runtime.root(REPORT)[0] == say.ROOTED
    assert ("ROOT", 96) in [(one["kind"], one["size"]) for one in map(json.loads, record.getvalue().splitlines())]


class Slow(FakeSource):
    """A broker that takes its time, and says when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = threading.Event(), threading.Event()

    def challenge(self) -> Challenge:
        self.asked.set()
        self.go.wait(10)
        return super().challenge()

    def provision(self, challenge: Challenge, statement: Statement, evidence: bytes) -> bytes:
        return super().provision(challenge, statement, evidence)


def test_a_program_asks_while_the_broker_is_slow(tmp_path: Path) -> None:
    """One conversation does not wait for another."""
    source = Slow()
    source.go.set()
    with carrier(tmp_path, source) as made:
        runtime = made.runtime()
        runtime.start()
        source.go.clear()
        source.asked.clear()
        waiting = threading.Thread(target=runtime.refresh)
        waiting.start()
        assert source.asked.wait(5)
        assert runtime.evidence(b"x")[0] == say.EVIDENCE
        source.go.set()
        waiting.join(10)
        assert not waiting.is_alive()
