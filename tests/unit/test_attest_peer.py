"""What the host sees of processes: the right one, still alive, whatever it calls itself."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloister.attest.attester import boot_id, secure_boot
from cloister.attest.peer import SO_PEERPIDFD, Process, connected, file_of
from cloister.attest.tree import Tree
from cloister.errors import NotAttested

NAMED = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); sys.stdin.read()"
SELF = os.readlink("/proc/self/exe")


@contextmanager
def child(name: str = "child") -> Iterator["subprocess.Popen[bytes]"]:
    """A process of this name that waits."""
    command = [sys.executable, "-c", NAMED, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("name", ["a b", "a) R 1 2 3", ")(", "TracerPid:\t7", "x\ty"])
def test_a_name_cannot_lie_about_the_rest(name: str) -> None:
    with child(name) as process, Process(process.pid) as seen:
        row = Path(f"/proc/{process.pid}/stat").read_bytes()
        assert seen.started == int(row[row.rindex(b")") + 2 :].split()[19])
        assert seen.started > Process(os.getpid()).started
        assert seen.tracer == 0
        assert seen.file == file_of(SELF)
        assert seen.digest() == hashlib.sha256(Path(SELF).read_bytes()).digest()
        assert seen.alive


def test_what_has_ended_is_not_looked_at() -> None:
    with child() as process:
        seen = Process(process.pid)
        process.kill()
        process.wait()
    assert not seen.alive
    for look in (lambda: seen.tracer, lambda: seen.file, seen.digest, lambda: seen.name):
        with pytest.raises(NotAttested, match="has ended"):
            look()
    with pytest.raises(NotAttested, match="cannot be looked at"):
        Process(process.pid)
    seen.close()
    seen.close()


def test_a_dead_process_that_nobody_waited_for_is_dead() -> None:
    """Its number still stands in /proc, and is nobody else's yet."""
    with child() as process, Process(process.pid) as seen:
        os.kill(process.pid, 9)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/status").exists()
        with pytest.raises(NotAttested, match="has ended"):
            _ = seen.tracer


def test_the_same_number_later_is_another_process() -> None:
    with Process(os.getpid()) as one, Process(os.getpid()) as other:
        assert one.same(other)
        other.started += 1
        assert not one.same(other)


def test_a_pidfd_that_cannot_be_kept_is_closed() -> None:
    with child() as process:
        held = os.pidfd_open(process.pid)
        process.kill()
        process.wait()
    with pytest.raises(NotAttested):
        Process(process.pid, held)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)


def test_who_connected_is_who_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    with left, right:
        with connected(left) as peer:
            assert peer.pid == os.getpid()
            assert not os.get_inheritable(peer.pidfd)
        monkeypatch.setattr("cloister.attest.peer.SO_PEERPIDFD", 9999)  # as on a kernel that has none
        with connected(left) as peer:
            assert peer.pid == os.getpid()
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(NotAttested, match="only processes of user 12345"):
            connected(left)
    assert SO_PEERPIDFD == 77


def test_a_process_that_cannot_be_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another pid namespace: the kernel gives its number as 0."""
    left, right = socket.socketpair()
    with left, right:
        monkeypatch.setattr("cloister.attest.peer.CREDENTIALS", Nobody())
        with pytest.raises(NotAttested, match="another pid namespace"):
            connected(left)


class Nobody:
    """What SO_PEERCRED holds for a process of another namespace."""

    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 0, os.geteuid(), os.getegid()


def test_a_file_that_may_not_be_looked_at_is_taken_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the runtime has capabilities that this user has not: then the file that was executed is hashed."""

    def denied(self: Process) -> None:
        del self

    monkeypatch.setattr(Process, "file", property(denied))
    monkeypatch.setattr(Process, "digest", denied)
    with Process(os.getpid()) as starter, Process(os.getpid()) as peer:
        tree = Tree(starter, "/bin/true")
        tree.begin(peer, guarded=False)
        assert tree.runtime == hashlib.sha256(Path("/bin/true").read_bytes()).digest()


def test_a_tracer_is_no_guard_by_being_there() -> None:
    """Any process may be called a guard, but it must execute the runtime; and the runtime is only one if it says so."""
    with child("cloister-guard") as process, Process(os.getpid()) as starter:
        tree = Tree(starter, "/bin/true")
        with pytest.raises(NotAttested, match="does not execute /bin/true"):
            tree._guard(process.pid)
        tree = Tree(starter, SELF)
        held = tree._guard(process.pid)
        assert held.pid == process.pid
        held.close()
    with child("not-a-guard") as process, pytest.raises(NotAttested, match="is no guard"):
        tree._guard(process.pid)


def test_what_the_host_says_of_itself(tmp_path: Path) -> None:
    assert boot_id().hex() == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    variable = tmp_path / "SecureBoot"
    assert secure_boot(variable) is None
    for content, meaning in ((b"\x06\0\0\0\1", True), (b"\x06\0\0\0\0", False), (b"", None), (b"\1", None)):
        variable.write_bytes(content)
        assert secure_boot(variable) is meaning
