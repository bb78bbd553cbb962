"""Nobody reads or changes the program's memory through procfs, process_vm calls or links: not root, not afterwards."""

import contextlib
import fcntl
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.security import attacks_unsafe as attacks
from tests.security.victims import Victim, build, victim

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE: fcntl(2)
CHUNK = 1 << 20
PAGE = 4096
HARMLESS = {
    "kernel stack": "the page with argument 0 that the kernel made; the program's stack is elsewhere, in secret memory",
    "reservation": "address space kept for later, replaced by secret memory before its first use: `fresh` checks that",
    "futex page": "counters that stand for shared futexes; changing one causes a wake-up that every waiter must expect",
}
"""Mappings whose bytes root can change, and why that changes nothing for the program."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    path: str


def maps(pid: int) -> list[Place]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = (re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line) for line in lines)
    return [Place(start=int(m[1], 16), end=int(m[2], 16), permissions=m[3], path=m[4]) for m in found if m]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("victim"))


@pytest.fixture
def enclaved(program: Path) -> Iterator[Victim]:
    with victim(program) as running:
        yield running


def attempt(read: object, *words: int) -> bytes:
    """What was read; empty if it was refused."""
    with contextlib.suppress(OSError, OverflowError):
        result = read(*words)  # type: ignore[operator]  # one of the two readers of attacks_unsafe
        return bytes(result)
    return b""


def everyone(target: Victim) -> list[int]:
    return [target.pid, target.child, *target.guards()]


def test_a_native_program_is_readable(program: Path) -> None:
    """The control: the addresses are right, and the same calls read and write there."""
    with victim(program, enclaved=False) as running:
        for place, pid, address in running.places:
            for read in (attacks.mem_read, attacks.vm_read):
                assert attempt(read, pid, address, len(running.secret)) == running.secret, place
        assert attacks.mem_write(running.pid, running.places[0][2], b"X") == 1
        assert not running.is_unharmed()


def test_no_copy_of_the_secret_can_be_read(enclaved: Victim) -> None:
    assert {name.split()[-1] for name, _, _ in enclaved.places} == {
        *("data", "bss", "heap", "map", "large-map", "stack", "tls", "thread-stack", "thread-tls"),
    }
    for place, pid, address in enclaved.places:
        for read in (attacks.mem_read, attacks.vm_read):
            assert attempt(read, pid, address, 1) == b"", place


def readable_bytes(pid: int) -> Iterator[tuple[Place, bytes]]:
    for place in maps(pid):
        if place.end - place.start > 1 << 30:
            continue  # the window's reservation: test_every_write looks into it
        for at in range(place.start, place.end, CHUNK):
            data = attempt(attacks.mem_read, pid, at, min(CHUNK, place.end - at))
            if data:
                yield place, data


def test_nothing_readable_holds_the_secret(enclaved: Victim) -> None:
    total = 0
    for pid in everyone(enclaved):
        for place, data in readable_bytes(pid):
            total += len(data)
            assert enclaved.secret not in data, place
    assert total > CHUNK, "text and read-only data are readable, so this looked at something"


def arguments_at(pid: int) -> int:
    """Where the kernel put argument 0: arg_start, proc_pid_stat(5) field 48."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[45])


def name_of(pid: int, place: Place) -> str:
    if place.permissions == "rw-p" and place.start <= arguments_at(pid) < place.end <= place.start + 4 * PAGE:
        return "kernel stack"
    if place.permissions == "---p" and not place.path:
        return "reservation"
    if place.permissions == "rw-s" and place.path.startswith("/dev/zero"):
        return "futex page"
    return f"{place.permissions} {place.path}"


def writable_places(pid: int) -> set[str]:
    """Every mapping where a write from outside was taken, at its start, in its middle or at its end."""
    taken = set()
    for place in maps(pid):
        if place.path in {"[vsyscall]", "[vvar]", "[vvar_vclock]"}:
            assert not any(was_written(pid, at) for at in (place.start, place.end - 8)), place
            continue
        middle = (place.start + place.end) // 2 & ~7
        if sum(was_written(pid, at) for at in (place.start, middle, place.end - 8)):
            taken.add(name_of(pid, place))
    return taken


def was_written(pid: int, address: int) -> bool:
    taken = False
    for write in (attacks.mem_write, attacks.vm_write):
        with contextlib.suppress(OSError, OverflowError):
            taken |= write(pid, address, b"intruder") > 0
    return taken


def test_every_write_fails_or_is_harmless(enclaved: Victim) -> None:
    for pid in everyone(enclaved):
        assert writable_places(pid) <= set(HARMLESS), f"process {pid}"
    assert enclaved.is_unharmed()
    assert enclaved.ask("fresh") == ["foreign 0"], "what was written into the reservation must never be seen"
    assert enclaved.ask("child") == ["foreign 0"]
    assert enclaved.ask("recycle") == ["foreign 0"]


def links(pid: int, kind: str) -> Iterator[tuple[str, str]]:
    for name in os.listdir(f"/proc/{pid}/{kind}"):
        path = f"/proc/{pid}/{kind}/{name}"
        with contextlib.suppress(OSError):
            yield path, os.readlink(path)


def test_links_to_mapped_files_give_no_way_in(enclaved: Victim) -> None:
    sealed = secret = 0
    for pid in everyone(enclaved):
        for path, target in links(pid, "map_files"):
            if "secretmem" in target:
                secret += 1
                with pytest.raises(OSError, match="No such device"), attacks.open_file(path, os.O_RDONLY):
                    pass
            elif _abi.MEMFD_TEXT in target:
                sealed += 1
                assert_sealed(path)
    assert secret > 10
    assert sealed > 10


def assert_sealed(path: str) -> None:
    with attacks.open_file(path, os.O_RDWR) as fd:
        assert fcntl.fcntl(fd, attacks.F_GET_SEALS) & ALL_SEALS == ALL_SEALS, path
        with pytest.raises(OSError, match="not permitted"):
            os.pwrite(fd, b"intruder", 0)
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, 0)


def test_no_descriptor_leads_to_memory(enclaved: Victim) -> None:
    enclaved.ask("churn")
    for pid in everyone(enclaved):
        found = [target for _, target in links(pid, "fd")]
        assert not [target for target in found if "secretmem" in target or "memfd" in target]
    assert all(not list(links(guard, "fd")) for guard in enclaved.guards()), "a guard needs none at all"


def descriptor_thief(pid: int, stop: threading.Event, stolen: list[str]) -> None:
    pidfd = os.pidfd_open(pid)
    while not stop.is_set():
        for number in range(3, 6):
            fd = attacks.take_descriptor(pidfd, number)
            if fd < 0:
                continue
            target = os.readlink(f"/proc/self/fd/{fd}")
            os.close(fd)
            if "secretmem" in target:
                stolen.append(target)
    os.close(pidfd)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="declared in LIMITATIONS.md: a descriptor taken while it is open"
)
def test_no_descriptor_of_secret_memory_can_be_caught(enclaved: Victim) -> None:
    """pidfd_getfd(2) in a loop, while the program makes new secret memory all the time."""
    stop, stolen = threading.Event(), list[str]()
    thief = threading.Thread(target=descriptor_thief, args=(enclaved.pid, stop, stolen))
    thief.start()
    try:
        limit = time.monotonic() + 10
        while time.monotonic() < limit and not stolen:
            enclaved.ask("churn")
    finally:
        stop.set()
        thief.join()
    assert not stolen, "whoever holds it can map it and read what is put there later"


def test_arguments_and_variables_are_gone(tmp_path: Path) -> None:
    secret = "argument-5c1f0e"
    environment = {**os.environ, "TOKEN": secret}
    command = [str(runtime_path()), "--", "/bin/sh", "sh", "-c", "echo started; read line; echo $0 $TOKEN", secret]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=tmp_path) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert secret.encode() not in content
            assert content.strip(b"\0") in (b"", b"sh"), "argument 0 may stay, for ps(1)"
        for _, data in readable_bytes(process.pid):
            assert secret.encode() not in data
        output, _ = process.communicate(b"\n", timeout=20)
        assert output == f"{secret} {secret}\n".encode()


def test_memory_is_clean_when_it_is_used_again(enclaved: Victim) -> None:
    assert enclaved.ask("recycle") == ["foreign 0"]


def test_a_child_leaves_nothing_to_its_parent(enclaved: Victim) -> None:
    assert enclaved.ask("child") == ["foreign 0"]


def test_preloading_into_the_runtime_does_nothing(tmp_path: Path) -> None:
    source, library, program = tmp_path / "preload.c", tmp_path / "preload.so", tmp_path / "program"
    source.write_text(
        "#include <unistd.h>\n"
        '__attribute__((constructor)) static void f(void) { (void)!write(1, "preloaded\\n", 10); }\n'
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    (tmp_path / "program.c").write_text('#include <unistd.h>\nint main(void) { return write(1, "ran\\n", 4) != 4; }\n')
    subprocess.run(["cc", "-static", "-o", program, tmp_path / "program.c"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "LD_AUDIT": str(library), "LD_LIBRARY_PATH": str(tmp_path)}
    command = [str(runtime_path()), "--", str(program), str(program)]
    assert subprocess.run(command, env=environment, capture_output=True, check=True).stdout == b"ran\n"
    dynamic = subprocess.run(["/bin/echo", "x"], env=environment, capture_output=True, check=True).stdout
    assert b"preloaded" in dynamic, "the control: the library does speak"
