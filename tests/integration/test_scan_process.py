"""Scans of real processes: what is there is found and attributed, what is in secret memory is not."""

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cloister import cli
from cloister.errors import ObservationError, UsageError
from cloister.launch.command import RuntimeOptions, enclave_command
from cloister.observe.findings import Finding, Reason
from cloister.observe.maps import MappingKind, read_maps
from cloister.observe.needles import Needles
from cloister.observe.places import scan_family_places, scan_places
from cloister.observe.scan import scan_family, scan_file, scan_process

READY_SECONDS = 20
# The programs make their secret from two halves that stand in no file, argument or pipe together.
ORDINARY = """
    import mmap, sys, time
    secret = bytes.fromhex(sys.stdin.readline())
    area = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area[5000:5000 + len(secret)] = secret
    shared = mmap.mmap(-1, 8192)
    shared[100:100 + len(secret)] = secret[::-1]
"""
SECRET_MEMORY = """
    import ctypes, mmap, os, sys, time
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(447, 0)
    os.ftruncate(fd, 65536)
    area = mmap.mmap(fd, 65536)
    os.close(fd)
    for at in range(0, 32):
        area[at] = int(sys.stdin.read(2), 16) ^ 0xff
    area[0x9000:0x9000 + 4] = b"page"
"""
WAIT = """
    print("ready", flush=True)
    time.sleep(60)
"""


@contextmanager
def running(argv: list[str], text: str = "", **options: object) -> Iterator[subprocess.Popen[str]]:
    """A program that has printed `ready`, killed at the end with its whole process group."""
    process = subprocess.Popen(  # type: ignore[call-overload]
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
    )
    try:
        process.stdin.write(text)
        process.stdin.close()
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(READY_SECONDS)


def python(*parts: str) -> list[str]:
    return [sys.executable, "-c", "".join(textwrap.dedent(part) for part in parts)]


@pytest.fixture
def secret() -> bytes:
    return secrets.token_bytes(32)


def secret_memory_works() -> bool:
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(447, 0) < 0)"
    return not subprocess.run([sys.executable, "-c", code], check=False).returncode


def raw(findings: tuple[Finding, ...], encoding: str = "raw") -> list[Finding]:
    return [finding for finding in findings if finding.encoding == encoding]


def test_ordinary_memory_is_found_and_attributed(secret: bytes) -> None:
    with running(python(ORDINARY, WAIT), secret.hex() + "\n") as process:
        scan = scan_process(process.pid, Needles.of({"marker": secret}))
    places = [one for one in raw(scan.findings) if one.mapping and one.address - one.mapping.start == 5000]
    assert places, scan.findings
    found = places[0]
    assert (found.label, found.pid, found.where) == ("marker", process.pid, "memory")
    assert found.owner.startswith("program ")
    assert found.mapping is not None
    assert found.mapping.kind is MappingKind.ANONYMOUS_OPEN
    kinds = {one.mapping.kind for one in raw(scan.findings, "reversed") if one.mapping}
    assert MappingKind.SHARED_OPEN in kinds
    assert scan.coverage.read_bytes > 1 << 20
    assert not scan.doubts


def test_a_secret_that_is_not_there_is_not_found(secret: bytes) -> None:
    with running(python(ORDINARY, WAIT), secret.hex() + "\n") as process:
        scan = scan_family(process.pid, Needles.of({"canary": secrets.token_bytes(32)}))
    assert not scan.found
    assert not scan.doubts


@pytest.mark.skipif(not secret_memory_works(), reason="this kernel offers no memfd_secret")
def test_secret_memory_is_not_found_and_accounted_for(secret: bytes) -> None:
    """The program undoes an xor on its way, so that only secret memory ever holds the secret."""
    hidden = bytes(byte ^ 0xFF for byte in secret).hex()
    with running(python(SECRET_MEMORY, WAIT), hidden) as process:
        scan = scan_process(process.pid, Needles.of({"marker": secret}))
        (area,) = [one for one in read_maps(process.pid) if one.kind is MappingKind.SECRET]
    assert not scan.found
    assert area.size == 65536
    assert scan.unreadable_by_reason()[Reason.SECRET] == area.size


def test_children_are_searched(secret: bytes) -> None:
    fork = "import os, sys, time\nif os.fork(): time.sleep(60)\nsecret = bytes.fromhex(sys.stdin.readline())\n"
    with running(python(fork, WAIT), secret.hex() + "\n") as process:
        scan = scan_family(process.pid, Needles.of({"marker": secret}))
    assert {one.pid for one in raw(scan.findings)} - {process.pid}
    assert any(one.owner.startswith("descendant ") for one in scan.findings)


def test_threads_stay_readable_when_the_first_has_ended(secret: bytes) -> None:
    """/proc/PID/maps is empty then; the memory is still there."""
    code = """
        import ctypes, sys, threading, time
        secret = bytes.fromhex(sys.stdin.readline())
        def wait():
            time.sleep(0.3)
            print("ready", flush=True)
            time.sleep(60)
        threading.Thread(target=wait).start()
        ctypes.CDLL(None).pthread_exit(None)
    """
    with running(python(code), secret.hex() + "\n") as process:
        assert not read_maps(process.pid)
        assert raw(scan_process(process.pid, Needles.of({"marker": secret})).findings)


def test_places_beside_memory(secret: bytes, tmp_path: Path) -> None:
    text = secret.hex()
    file = tmp_path / "data"
    file.write_bytes(b"x" * 5000 + secret)
    code = "import os, sys, time\na = os.open(sys.argv[2], 0)\nos.unlink(sys.argv[2])\nm = os.memfd_create('m')\n"
    code += "os.write(m, os.pread(a, 9999, 0)[::-1])\n"
    argv = [*python(code, WAIT), text, str(file)]
    with running(argv, env={**os.environ, "MARKER": text}) as process:
        scan = scan_places(process.pid, Needles.of({"marker": secret}))
        limited = scan_family_places(process.pid, Needles.of({"marker": secret}), file_limit=5000)
    found = {(one.where.split(" ")[0], one.encoding) for one in scan.findings}
    assert {("environ", "hex"), ("cmdline", "hex"), ("fd", "raw"), ("fd", "reversed")} <= found
    assert any("(deleted)" in one.where for one in raw(scan.findings))
    assert Reason.NOT_REGULAR in scan.unreadable_by_reason()
    assert not raw(limited.findings)
    assert limited.unreadable_by_reason()[Reason.TOO_LARGE] == 2 * len(secret)
    assert limited.doubts


def test_process_that_is_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    for scan in (scan_process(process.pid, Needles.of({"s": b"marker"})), scan_family(process.pid, Needles.of({}))):
        assert [absent.reason for absent in scan.doubts] == [Reason.GONE]


def test_zombie_has_no_memory() -> None:
    process = subprocess.Popen(["true"])
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "(zombie)" not in Path(f"/proc/{process.pid}/status").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        scan = scan_process(process.pid, Needles.of({"s": b"marker"}))
    finally:
        process.wait()
    assert [absent.reason for absent in scan.absences] == [Reason.NO_MEMORY]


def test_process_that_maps_unmaps_and_dies_while_it_is_scanned(secret: bytes) -> None:
    """Whatever happens meanwhile, a scan ends with a result: bytes, or the reason why not."""
    code = """
        import mmap, os, sys, time
        print("ready", flush=True)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            areas = [mmap.mmap(-1, 1 << 16) for _ in range(50)]
            for area in areas:
                area[:5] = b"12345"
                area.close()
        os.execvp("sleep", ["sleep", "0.3"])
    """
    reasons = set()
    with running(python(code)) as process:
        for _ in range(400):
            scan = scan_process(process.pid, Needles.of({"marker": secret}))
            reasons |= {absent.reason for absent in scan.absences}
            if process.poll() is not None:
                break
            time.sleep(0.005)
    assert process.returncode == 0
    assert Reason.FAILED not in reasons


def test_the_scanner_leaves_itself_out() -> None:
    scan = scan_family(os.getpid(), Needles.of({"s": b"held-by-the-test"}))
    assert Reason.SCANNER in {absent.reason for absent in scan.absences}
    assert not [one for one in scan.findings if one.pid == os.getpid()]


@pytest.mark.needs_root
def test_another_user_cannot_tell() -> None:
    """In a fork, so that a checkout which another user cannot read does not matter."""
    with running(["sh", "-c", "echo ready; sleep 60"]) as process:
        child = os.fork()
        if not child:
            code = 1
            with suppress(BaseException):
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                code = cli.main(["scan", str(process.pid), "--secret", "not-there"])
            os._exit(code)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 16


@pytest.mark.needs_runtime
def test_enclaved_program_hides_what_the_native_one_shows(secret: bytes) -> None:
    program = python("import sys, time\nsecret = bytes.fromhex(sys.stdin.readline())\n", WAIT)
    needles = Needles.of({"marker": secret})
    with running(program, secret.hex() + "\n") as process:
        assert raw(scan_family(process.pid, needles).findings)
    with running(enclave_command(program[0], program[1:], RuntimeOptions()), secret.hex() + "\n") as process:
        scan = scan_family(process.pid, needles).merge(scan_family_places(process.pid, needles))
    assert not scan.found
    assert not scan.doubts
    assert scan.unreadable_by_reason()[Reason.SECRET] > 1 << 20
    assert any("guard cloister-guard" in absent.where for absent in scan.absences)


def test_command_finds_and_says_so(secret: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "marker"
    file.write_bytes(secret + b"\n")
    with running(python(ORDINARY, WAIT), secret.hex() + "\n") as process:
        target = str(process.pid)
        assert cli.main(["scan", target, "--secret-file", str(file), "--label", "session key", "--json"]) == 10
        document = json.loads(capsys.readouterr().out)
        assert cli.main(["scan", target, "--secret-file", str(file)]) == 10
        captured = capsys.readouterr()
        assert cli.main(["scan", target, "--secret-hex", secrets.token_hex(16)]) == 0
    assert document["verdict"] == "found"
    assert {one["label"] for one in document["findings"]} == {"session key"}
    assert document["coverage"]["read_bytes"] > 1 << 20
    assert not captured.out
    assert "FOUND secret 1 (raw)" in captured.err
    assert secret.hex() not in captured.err


def test_command_on_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "dump"
    with file.open("wb") as stream:
        stream.seek(5 << 20)
        stream.write(b"..." + b"FUNFOO12".hex().encode())
    assert cli.main(["scan", str(file), "--secret", "FUNFOO12", "--json"]) == 10
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["encoding"], finding["address"], finding["pid"]) == ("hex", hex((5 << 20) + 3), None)
    assert cli.main(["scan", str(file), "--secret", "FUNFOO13"]) == 0
    assert cli.main(["scan", str(tmp_path / "missing"), "--secret", "FUNFOO13"]) == 3
    assert cli.main(["scan", str(tmp_path), "--secret", "FUNFOO13"]) == 3
    assert cli.main(["scan", str(file)]) == 2
    assert cli.main(["scan", str(file), "--secret-hex", "0g"]) == 2
    empty = tmp_path / "empty"
    empty.touch()
    assert cli.main(["scan", str(empty), "--secret", "FUNFOO13"]) == 16


def test_command_finds_aes_keys_of_a_process(capsys: pytest.CaptureFixture[str]) -> None:
    from cloister.observe.keyschedule import expand  # noqa: PLC0415  the test's way to make one

    schedule = expand(secrets.token_bytes(32)).hex()
    code = "import sys, time\nschedule = bytes.fromhex(sys.stdin.readline())\n"
    with running(python(code, WAIT), schedule + "\n") as process:
        assert cli.main(["scan", str(process.pid), "--aes-keys", "--memory-only", "--json"]) == 10
    keys = json.loads(capsys.readouterr().out)["aes_keys"]
    assert {(key["bits"], key["layout"]) for key in keys} == {(256, "fips")}


def test_a_device_is_not_opened() -> None:
    with pytest.raises(ObservationError, match="regular file"):
        scan_file("/dev/zero", Needles.of({"s": b"marker"}))


def test_labels_must_differ(tmp_path: Path) -> None:
    arguments = ["scan", str(tmp_path), "--secret", "abcde", "--label", "x", "--secret", "fghij", "--label", "x"]
    assert cli.main(arguments) == UsageError.exit_code
