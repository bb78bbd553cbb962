"""What an administrator may say to a machine, and the socket on which it is said: also by those who mean it harm."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.emulate.administration import COMMANDS, Administrator
from cloister.emulate.attacks.scene import SECRET, Act, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import kind_of, native_kind
from cloister.emulate.control import CALLERS, LONGEST, ControlSocket, ask
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError
from cloister.measure.image import Architecture

KEEP = b"s" + SECRET + b"\n"
END = Act(b"q\n")
BIT = 16  # of the balance: 1,000 becomes 66,536


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    directory = tmp_path_factory.mktemp("keys")
    directory.chmod(0o700)
    return Keystore(directory)


class Play:
    """A scene whose administrator speaks through `Administrator` while the program waits."""

    def __init__(self, tee: str, keystore: Keystore) -> None:
        kind = native_kind(Architecture.X86_64) if tee == "native" else kind_of(tee)

        def make(terminal: Terminal) -> Machine:
            return kind.make(Shape(memory=8192, frames=256), terminal, keystore, debug=False)

        self.scene = Scene(make, lambda machine: victim(machine.architecture))
        self.scene.launch()
        self.administrator = Administrator(self.scene.machine, self.scene.victim.symbols)
        self.said: list[str] = []

    def does(self, *lines: str) -> Callable[[], None]:
        return lambda: self.said.extend(self.administrator.do(line.split()) for line in lines)

    def run(self, *acts: Act) -> tuple[str, ...]:
        try:
            return self.scene.play([*acts, END]).lines
        finally:
            self.scene.close()


@pytest.fixture
def native(keystore: Keystore) -> Play:
    return Play("native", keystore)


def test_reading_shows_the_page(native: Play) -> None:
    native.run(Act(KEEP), Act(b"b\n", native.does("read secret", "dma-read secret", "debug secret", "dram secret")))
    for text in native.said:
        assert SECRET.decode() in text
        assert text.endswith("... 4,032 more bytes")


def test_a_search_says_where_and_what_or_that_it_is_not_there(native: Play) -> None:
    looks = native.does("search k7#Vq", "search nowhere-to-be-found")
    native.run(Act(KEEP), Act(b"b\n", looks))
    assert native.said[0].startswith("in physical page 0x")
    assert SECRET.decode() in native.said[0]
    assert native.said[1] == "not in the 32 MiB of DRAM"


def test_what_is_watched_is_the_whole_page(native: Play) -> None:
    pages: list[bytes] = []
    native.administrator.watch = pages.append
    native.run(Act(KEEP), Act(b"b\n", native.does("read secret", "symbols")))
    assert [len(page) for page in pages] == [4096]
    assert pages[0].startswith(SECRET)


@pytest.mark.parametrize(
    ("before", "after", "printed"),
    [
        (["keep balance full"], ["put balance full"], "1000"),
        (["keep-as-host balance full"], ["put-as-host balance full"], "1000"),
        ([], ["write balance d2040000"], "1234"),
        ([], ["dma-write balance d2040000"], "1234"),
        ([], ["remap balance riches"], "1000000"),
        (["keep riches r"], ["put balance r"], "1000000"),
        ([], [f"flip balance {BIT}"], str(100 + (1 << BIT))),
    ],
)
def test_changes_take_effect(native: Play, before: list[str], after: list[str], printed: str) -> None:
    lines = native.run(Act(b"w\n", native.does(*before)), Act(b"b\n", native.does(*after)))
    assert lines[-1] == printed


def test_faults_are_named_as_they_were_traced(native: Play) -> None:
    trace = native.does("trace walk bit_set bit_clear")
    native.run(Act(KEEP), Act(b"c\n", trace), Act(b"b\n", native.does("faults", "trace walk", "faults")))
    names = [line.split()[-1] for line in native.said[1].splitlines()]
    bits = "".join({"bit_set": "1", "bit_clear": "0"}.get(name, "") for name in names)
    assert bits == "".join(f"{byte:08b}" for byte in SECRET)[:32]
    assert native.said[3] == "none", "a new trace begins anew"


def test_a_program_without_a_branch_gives_nothing_away(native: Play) -> None:
    trace = native.does("trace walk bit_set bit_clear")
    native.run(Act(KEEP), Act(b"o\n", trace), Act(b"b\n", native.does("faults")))
    assert "bit_" not in native.said[1]


def test_registers_at_interrupts(native: Play) -> None:
    native.run(
        Act(KEEP, native.does("registers")),
        Act(b"r\n", native.does("interrupt 500")),
        Act(b"b\n", native.does("registers", "registers 5", "interrupt 0")),
    )
    assert "interrupt 500" in native.said[0]
    assert native.said[-1] == "never"
    for text in native.said[2:4]:
        assert SECRET[:8].decode() in text


def test_a_forged_count_is_believed_without_a_tee(native: Play) -> None:
    lines = native.run(Act(b"i\n", native.does("forge 1048576")), Act(b"i\n"))
    assert lines[1:] == ("1048576", "1"), "one lie, then the truth again"


@pytest.mark.parametrize("tee", ["sev"])
def test_a_forged_count_is_stopped_by_the_shield(keystore: Keystore, tee: str) -> None:
    play = Play(tee, keystore)
    ending = play.scene.play([Act(b"b\n", play.does("forge 1048576")), Act(b"b\n"), END]).ending
    play.scene.close()
    assert "untrusted host" in ending.stopped


def test_a_refusal_is_an_answer(keystore: Keystore) -> None:
    play = Play("sev", keystore)
    play.run(Act(b"b\n", play.does("debug secret")))
    assert play.said[0].startswith("refused: ")


@pytest.mark.parametrize(
    "line",
    [
        "", "nonsense", "read", "read secret more", "read nowhere", "read zz", "read ffffffffffffffffffff", "read -1",
        "write secret xyz", "write secret 123", f"write secret {'00' * 4097}", "remap secret", "flip balance 32768",
        "flip balance -1", "flip balance one", "interrupt -1", "interrupt 1000000000000", "registers x", "trace",
        "put balance never-kept", "put-as-host balance never-kept", "search", "forge many", "dram 7ffffffff000",
        "trace 7ffffffff000", "keep 7ffffffff000 name", "remap balance 7ffffffff000",
    ],
)  # fmt: skip
def test_words_that_mean_nothing_are_refused_and_end_nothing(native: Play, line: str) -> None:
    refused: list[str] = []

    def say() -> None:
        with pytest.raises(UsageError) as caught:
            native.administrator.do(line.split())
        refused.append(str(caught.value))

    assert native.run(Act(b"b\n", say))[-1] == "1000"
    assert refused


def test_help_names_every_command(native: Play) -> None:
    native.run(Act(b"b\n", native.does("help")))
    assert [line.split()[0] for line in native.said[0].splitlines()] == [name.split()[0] for name in COMMANDS]


def test_names_are_not_kept_without_end(native: Play) -> None:
    def fill() -> None:
        for number in range(32):
            native.administrator.do(["keep", "balance", str(number)])
        native.administrator.do(["keep", "balance", "3"])
        with pytest.raises(UsageError, match="kept already"):
            native.administrator.do(["keep", "balance", "one more"])

    native.run(Act(b"b\n", fill))


# ---------------------------------------------------------------- the socket


class Echo:
    """Answers with the words; fails in ways of its own."""

    def do(self, words: list[str]) -> str:
        if words == ["usage"]:
            raise UsageError("such words mean nothing")
        if words == ["defect"]:
            raise ZeroDivisionError("a defect")
        return " ".join(words)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The socket of an `Echo`, served by a thread until the test is over."""
    over, place = threading.Event(), tmp_path / "machine.sock"
    control = ControlSocket(place, Echo())
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: control.serve_until(over.is_set, [reading]))
    thread.start()
    yield place
    over.set()
    os.write(writing, b"x")
    thread.join(20)
    assert not thread.is_alive()
    control.close()
    os.close(reading)
    os.close(writing)
    assert not place.exists()


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def reply_to(path: Path, data: bytes) -> dict[str, str]:
    with connected(path) as connection:
        connection.sendall(data)
        reply = b""
        while part := connection.recv(65536):
            reply += part
    answer: dict[str, str] = json.loads(reply)
    return answer


def test_only_its_owner_may_speak_to_it(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_words_are_answered(path: Path) -> None:
    assert ask(path, ["read", "a page"]) == "read a page"
    with pytest.raises(UsageError, match="such words mean nothing"):
        ask(path, ["usage"])


def test_a_defect_in_an_answer_ends_nothing(path: Path) -> None:
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        ask(path, ["defect"])
    assert ask(path, ["still"]) == "still"


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"null\n", b"[]\n", b"{}\n", b'{"words": 5}\n', b'{"words": {"a": 1}}\n', b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b'{"words": null}\n', b'"words"\n',
    ],
)  # fmt: skip
def test_garbage_is_answered_with_what_was_expected(path: Path, line: bytes) -> None:
    assert "not a line of JSON" in reply_to(path, line)["error"]
    assert ask(path, ["still"]) == "still"


def test_a_line_without_end_is_cut_off(path: Path) -> None:
    with connected(path) as connection:
        connection.sendall(b"x" * (LONGEST + 1))
        assert b"at most" in connection.recv(65536)
    assert ask(path, ["still"]) == "still"


def test_who_breaks_off_is_forgotten(path: Path) -> None:
    for data in (b"", b'{"wor', b'{"words": ["a"]}\n'):
        with connected(path) as connection:
            connection.sendall(data)
    assert ask(path, ["still"]) == "still"


def test_who_says_nothing_keeps_nobody_waiting(path: Path) -> None:
    with connected(path), connected(path) as slow:
        slow.sendall(b'{"words"')
        begun = time.monotonic()
        assert ask(path, ["at once"]) == "at once"
        assert time.monotonic() - begun < 2


def test_many_who_say_nothing_keep_nobody_out(path: Path) -> None:
    silent = []
    for _ in range(CALLERS * 2):
        silent.append(connected(path))
        if len(silent) % CALLERS == 0:
            assert ask(path, ["at once"]) == "at once"
    assert ask(path, ["still"]) == "still"
    for one in silent:
        one.close()


def test_who_does_not_fetch_a_long_answer_is_dropped(path: Path) -> None:
    """The answer does not fit the socket's buffer; the machine waits a second for its reader, no longer."""
    with connected(path) as reluctant:
        reluctant.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        reluctant.sendall(json.dumps({"words": ["x" * 60_000]}).encode() + b"\n")
        begun = time.monotonic()
        assert ask(path, ["soon"]) == "soon"
        assert time.monotonic() - begun < 5


def test_a_slow_line_is_dropped(path: Path) -> None:
    with connected(path) as slow:
        slow.sendall(b"{")
        assert slow.recv(1) == b"", "after some seconds the machine hangs up"


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no machine answers"):
        ask(tmp_path / "none.sock", ["help"])
    with pytest.raises(UsageError, match="in a directory that exists"):
        ask(tmp_path / "none" / "none.sock", ["help"])


def test_a_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "precious"
    place.write_text("precious")
    with pytest.raises(UsageError, match="does not exist"):
        ControlSocket(place, Echo())
    assert place.read_text() == "precious"


def test_a_long_path_works(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    control = ControlSocket(directory / "machine.sock", Echo())
    thread = threading.Thread(target=lambda: control.serve_until(lambda: False, patience=1))
    thread.start()
    assert ask(directory / "machine.sock", ["far"]) == "far"
    thread.join(20)
    control.close()


def test_patience_ends(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path / "machine.sock", Echo())
    assert not control.serve_until(lambda: False, patience=0.1)
    control.close()
