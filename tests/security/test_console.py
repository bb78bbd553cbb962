"""Attacks on the console shield: whoever runs the host traces its processes and stands between it and the person."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.security.console_between import Pass, between
from tests.system.attested import CLOISTER
from tests.system.consoles import TOOLS, Console, Machine, relay_of, wait_until, waiting
from tests.system.process_tree import below

from cloister.attest.console_link import LinkFrame, LinkKind
from cloister.attest.host_key import FileHostKey
from cloister.shield.console.records import OutputKind

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]
TYPED, PRINTED = b"FUNFOO", b"OOFNUF"
REVERSE = (
    'while read -r line; do rest=; for ((i = 0; i < ${#line}; i++)); do rest=${line:i:1}$rest; done; echo "$rest"; done'
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(home=tmp_path_factory.mktemp("host"))


@pytest.fixture
def reversing(machine: Machine, tmp_path: Path) -> Iterator[Console]:
    """A program that prints what it reads, backwards."""
    manifest = machine.manifest("bash", "-c", TOOLS)
    with waiting(machine, tmp_path / "c", ["bash", "-c", REVERSE], manifest) as console:
        yield console


@contextlib.contextmanager
def strace(pids: Iterable[int], log: Path) -> Iterator[None]:
    """Traces processes and what they start, from the moment it has attached until a moment after the block."""
    words = ["strace", "-f", "-s", "1000000", "-xx", "-o", str(log), *(f"-p{pid}" for pid in pids)]
    said = log.with_suffix(".said")
    with said.open("wb") as file, subprocess.Popen(words, stderr=file) as tracing:
        wait_until(lambda: b"attached" in said.read_bytes())
        try:
            yield
            time.sleep(0.3)
        finally:
            tracing.terminate()
            tracing.wait(20)


def shown(log: Path) -> bytes:
    """The bytes in a trace in which strings are hexadecimal."""
    return log.read_bytes().replace(b"\\x", b"")


def test_control_a_trace_of_a_native_program_shows_what_is_typed_and_printed(tmp_path: Path) -> None:
    words = ["bash", "-c", REVERSE]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program,
        strace([program.pid], tmp_path / "log"),
    ):
        assert program.communicate(TYPED + b"\n", timeout=20)[0] == PRINTED + b"\n"
    text = shown(tmp_path / "log")
    assert PRINTED.hex().encode() in text
    assert all(b'read(0, "%02x"' % byte in text for byte in TYPED)


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_a_trace_of_every_process_shows_ciphertext_only(reversing: Console, tmp_path: Path, *, terminal: bool) -> None:
    """Whoever can be traced is: the relay, which carries all of it, and the command that waits. The rest cannot be."""
    with strace([reversing.run.pid, relay_of(reversing.run.pid)], tmp_path / "log"):
        if terminal:
            with reversing.terminal() as screen:
                screen.type(TYPED + b"\n")
                screen.expect(PRINTED + rb"\r\n")
                program = [pid for pid in below(reversing.run.pid) if not can_trace(pid)]
                assert program, "it cannot be traced"
                screen.type(b"\x04")
                assert screen.wait() == 0
        else:
            assert reversing.attach(TYPED + b"\n").stdout == PRINTED + b"\n"
        reversing.run.wait(20)
    text = shown(tmp_path / "log")
    assert len(text) > 5000, "something was traced"
    assert any(call in text for call in (b"recvfrom(", b"recv(")), "the relay's reads are in it"
    for needle in (TYPED, PRINTED, TYPED[:4], PRINTED[:4]):
        assert needle.hex().encode() not in text
        assert needle not in (tmp_path / "log").read_bytes()


def can_trace(pid: int) -> bool:
    done = subprocess.run(["strace", "-p", str(pid), "-o", "/dev/null"], capture_output=True, timeout=2, check=False)
    return b"attached" in done.stderr


def test_on_the_line_is_ciphertext_only(reversing: Console, tmp_path: Path) -> None:
    with between(tmp_path / "between", reversing.address) as seen:
        done = attach_through(reversing, tmp_path / "between", TYPED + b"\n")
    assert done.stdout == PRINTED + b"\n"
    frames = [*seen.to_host, *seen.to_person]
    assert {LinkKind.INPUT, LinkKind.OUTPUT} <= {frame.kind for frame in frames}
    assert not [frame for frame in frames if TYPED in frame.body or PRINTED in frame.body]


def attach_through(console: Console, path: Path, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """The person, at another address than the console's."""
    return subprocess.run(
        console.words(address=path), input=given, env=console.machine.environment, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip


def flipped(frame: LinkFrame, at: int = -1) -> LinkFrame:
    body = bytearray(frame.body)
    body[at] ^= 1
    return LinkFrame(frame.kind, bytes(body))


def of_output(change: Callable[[list[LinkFrame]], Iterable[LinkFrame]]) -> Pass:
    """Changes what the person gets: `change` is given all records of text so far, the last of which is the new one."""
    seen: list[LinkFrame] = []

    def choose(frame: LinkFrame) -> Iterable[LinkFrame]:
        if frame.kind is not LinkKind.OUTPUT or frame.body[8] != OutputKind.STDOUT:
            return [frame]
        seen.append(frame)
        return change(seen)

    return choose


OUTPUT_ATTACKS: dict[str, tuple[Pass, bytes]] = {
    "changed": (of_output(lambda seen: [flipped(seen[-1])]), b"changed on the way"),
    "its number changed": (of_output(lambda seen: [flipped(seen[-1], 0)]), b"changed on the way"),
    "called an error": (of_output(lambda seen: [flipped(seen[-1], 8)]), b"changed on the way"),
    "replayed": (of_output(lambda seen: [seen[-1], seen[0]]), b"replayed"),
    "withheld": (of_output(lambda seen: [] if len(seen) == 1 else [seen[-1]]), b"are missing"),
    "cut": (of_output(lambda seen: [LinkFrame(seen[-1].kind, seen[-1].body[:-3])]), b"changed on the way"),
}


@pytest.mark.parametrize("attack", OUTPUT_ATTACKS)
def test_output_that_was_tampered_with_is_noticed(reversing: Console, tmp_path: Path, attack: str) -> None:
    change, said = OUTPUT_ATTACKS[attack]
    with between(tmp_path / "between", reversing.address, to_person=change):
        done = attach_through(reversing, tmp_path / "between", b"ab\ncd\nef\n")
    assert done.returncode == 5
    assert said in done.stderr
    assert done.stdout in {b"", b"ba\n", b"dc\nfe\n"}, "nothing but what the program wrote, in its order"


def test_a_connection_that_ends_is_no_end(reversing: Console, tmp_path: Path) -> None:
    """Everything but the program's confirmed end is passed on."""

    def choose(frame: LinkFrame) -> Iterable[LinkFrame]:
        ending = frame.kind is LinkKind.OUTPUT and frame.body[8] in {OutputKind.EXIT, OutputKind.END}
        return [] if ending else [frame]

    with between(tmp_path / "between", reversing.address, to_person=choose):
        done = attach_through(reversing, tmp_path / "between", b"ab\n")
    assert (done.returncode, done.stdout) == (5, b"ba\n")
    assert b"before the program's end was confirmed" in done.stderr


def of_input(change: Callable[[list[LinkFrame]], Iterable[LinkFrame]]) -> Pass:
    seen: list[LinkFrame] = []

    def choose(frame: LinkFrame) -> Iterable[LinkFrame]:
        if frame.kind is not LinkKind.INPUT:
            return [frame]
        seen.append(frame)
        return change(seen)

    return choose


INPUT_ATTACKS: dict[str, Pass] = {
    "changed": of_input(lambda seen: [flipped(seen[-1])]),
    "replayed": of_input(lambda seen: [seen[-1], seen[-1], seen[0]] if len(seen) == 2 else [seen[-1]]),
    "withheld": of_input(lambda seen: [] if len(seen) == 1 else [seen[-1]]),
    "reordered": of_input(lambda seen: [] if len(seen) == 1 else [seen[1], seen[0]] if len(seen) == 2 else [seen[-1]]),
    "its end forged": of_input(lambda seen: [flipped(seen[-1], 8)]),
}


@pytest.mark.parametrize("attack", INPUT_ATTACKS)
def test_input_that_was_tampered_with_is_noticed_inside(reversing: Console, tmp_path: Path, attack: str) -> None:
    """By the program's side, which does not give it to the program, and tells the person."""
    with between(tmp_path / "between", reversing.address, to_host=INPUT_ATTACKS[attack]):
        done = attach_in_pieces(reversing, tmp_path / "between")
    assert done.returncode == 5
    assert b"the program's side says: what it was to read is not what you sent" in done.stderr
    assert done.stdout in {b"", b"ba\n", b"ba\ndc\n"}


def attach_in_pieces(console: Console, path: Path) -> "subprocess.CompletedProcess[bytes]":
    """Two lines and an end, each a record of its own."""
    out, err = path.with_suffix(".out"), path.with_suffix(".err")
    read, write = os.pipe()
    with out.open("wb") as to, err.open("wb") as errors, os.fdopen(read, "rb") as given:
        words = console.words(address=path)
        person = subprocess.Popen(words, stdin=given, stdout=to, stderr=errors, env=console.machine.environment)
    time.sleep(1)
    for line in (b"ab\n", b"cd\n"):
        with contextlib.suppress(BrokenPipeError):
            os.write(write, line)
        time.sleep(1)
    os.close(write)
    return subprocess.CompletedProcess(words, person.wait(60), out.read_bytes(), err.read_bytes())


def test_input_that_is_cut_off_is_no_end(machine: Machine, tmp_path: Path) -> None:
    """A program that took the cut for the end would act on half of what it was told."""
    line = "cat 2> /dev/null; echo $? > " + str(tmp_path / "status")
    manifest = machine.manifest("bash", "-c", TOOLS)
    with waiting(machine, tmp_path / "c", ["bash", "-c", line], manifest) as console:
        with subprocess.Popen(console.words(), stdin=subprocess.PIPE, env=machine.environment) as person:
            wait_until(lambda: any("cat" in name for name in names(console.run.pid)))
            person.kill()
        wait_until((tmp_path / "status").exists)
        wait_until(lambda: (tmp_path / "status").read_text().strip() == "1")


def names(pid: int) -> list[str]:
    found = []
    for one in below(pid):
        path = Path(f"/proc/{one}/comm")
        found.append(path.read_text().strip() if path.exists() else "")
    return found


def test_what_the_host_types_is_refused(reversing: Console) -> None:
    """Root writes to the program's terminal, by any of its names: the program reads nothing of it."""
    with reversing.terminal() as screen:
        screen.type(TYPED + b"\n")
        screen.expect(PRINTED + rb"\r\n")
        [slave] = {os.readlink(f"/proc/{pid}/fd/0") for pid in below(reversing.run.pid) if fd_is_terminal(pid)}
        relay = relay_of(reversing.run.pid)
        masters = [fd for fd in os.listdir(f"/proc/{relay}/fd") if "ptmx" in os.readlink(f"/proc/{relay}/fd/{fd}")]
        assert slave.startswith("/dev/pts/")
        assert masters
        taken = os.pidfd_open(relay)
        master = pidfd_getfd(taken, int(masters[0]))
        os.write(master, b"rm -rf everything that is dear\n")
        screen.expect(rb"the program's side says: what it was to read is not what you sent")
        assert screen.wait() == 5
        os.close(master)
        os.close(taken)


def fd_is_terminal(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/0").startswith("/dev/pts/")
    except OSError:
        return False


def pidfd_getfd(pidfd: int, fd: int) -> int:
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(438, pidfd, fd, 0))
    assert found >= 0, os.strerror(ctypes.get_errno())
    return found


def test_another_program_is_refused(machine: Machine, reversing: Console) -> None:
    other = machine.measurement(machine.manifest("cat"))
    done = reversing.attach(TYPED, "--measurement", other, "--trust-host-key", str(machine.key))
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"what runs there is not what you asked for" in done.stderr
    assert reversing.run.wait(20) == 122, "and it never ran"


def test_another_host_is_refused(machine: Machine, reversing: Console, tmp_path: Path) -> None:
    key = tmp_path / "other.pem"
    key.write_bytes(FileHostKey(tmp_path / "other" / "key.pem").public_pem())
    expected = machine.measurement(reversing.manifest)
    done = reversing.attach(TYPED, "--measurement", expected, "--trust-host-key", str(key))
    assert (done.returncode, done.stdout) == (5, b"")


def test_no_host_is_believed_unasked(machine: Machine, reversing: Console) -> None:
    done = reversing.attach(TYPED, "--measurement", machine.measurement(reversing.manifest))
    assert (done.returncode, done.stdout) == (5, b"")


def test_a_program_that_names_its_person_takes_no_other(machine: Machine, tmp_path: Path) -> None:
    mine, manifest = tmp_path / "me.key", tmp_path / "cat.toml"
    measure = ["measure", "-q", "--broker-key", f"{mine}.pub", "-o", str(manifest), "cat"]
    for words in (["attach", "--make-key", str(mine)], measure):
        subprocess.run([*CLOISTER, *words], env=machine.environment, capture_output=True, check=True, timeout=60)
    assert mine.stat().st_mode & 0o777 == 0o600
    with waiting(machine, tmp_path / "c", ["cat"], manifest) as console:
        done = console.attach(TYPED)
        assert (done.returncode, done.stdout) == (5, b"")
        assert b"sealed by another broker than the manifest names" in done.stderr
    with waiting(machine, tmp_path / "again", ["cat"], manifest) as console:
        words = console.words()
        done = console.attach(TYPED, *words[len(CLOISTER) + 1 : -1], "--key", str(mine))
        assert (done.returncode, done.stdout) == (0, TYPED)


def test_a_key_in_the_middle_is_refused(reversing: Console, tmp_path: Path) -> None:
    """Who puts a key of its own in the enclave's place would be sealed the console's key."""
    own = X25519PrivateKey.generate().public_key().public_bytes_raw()

    def choose(frame: LinkFrame) -> Iterable[LinkFrame]:
        return [LinkFrame(frame.kind, own + frame.body[32:]) if frame.kind is LinkKind.EVIDENCE else frame]

    with between(tmp_path / "between", reversing.address, to_person=choose) as seen:
        done = attach_through(reversing, tmp_path / "between", TYPED)
    assert (done.returncode, done.stdout) == (5, b"")
    assert LinkKind.SEALED not in {frame.kind for frame in seen.to_host}


def test_old_evidence_is_refused(machine: Machine, reversing: Console, tmp_path: Path) -> None:
    with between(tmp_path / "first", reversing.address) as seen:
        assert attach_through(reversing, tmp_path / "first", b"ab\n").stdout == b"ba\n"
    [old] = [frame for frame in seen.to_person if frame.kind is LinkKind.EVIDENCE]

    def choose(frame: LinkFrame) -> Iterable[LinkFrame]:
        return [old if frame.kind is LinkKind.EVIDENCE else frame]

    manifest, address = reversing.manifest, tmp_path / "again"
    with (
        waiting(machine, address, ["bash", "-c", REVERSE], manifest) as console,
        between(tmp_path / "second", address, to_person=choose),
    ):
        done = attach_through(console, tmp_path / "second", TYPED)
    assert (done.returncode, done.stdout) == (5, b"")
