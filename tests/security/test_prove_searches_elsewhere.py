"""Leaks beyond processes and files: what a program sends, has in its calls, or once had on the disk. Each is found.

Natively each place shows the secret; enclaved it does only where the program itself hands it out.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.mounts import unmount
from tests.security.shielded import Region

from cloister.app.prove import prove
from cloister.cli._shield_file import read_policy_file
from cloister.observe.prove.plan import AfterDelay, FeedTerminal, FinishInput, GroundName, Plan
from cloister.observe.prove.record import ArmRecord, Ground
from cloister.observe.prove.render import Experiment, as_text
from cloister.observe.prove.verdict import Outcome
from cloister.shield.local_keys import LocalKeys
from cloister.shield_policy.resolve import resolve

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

PYTHON = os.path.realpath(sys.executable)
READ = "import base64, mmap, os, socket, sys\ns = sys.stdin.readline().strip()\n"
WAIT = "\nprint('done', flush=True)\nsys.stdin.readline()\n"
CONNECTED = """
listener = socket.create_server(('127.0.0.1', 0))
a = socket.create_connection(listener.getsockname())
b, _ = listener.accept()
"""


def experiment(cwd: Path, code: str, *grounds: GroundName, **changes: object) -> Experiment:
    """Run one Python program through the experiment, in a directory of its own."""
    settings: dict[str, object] = {
        "words": (PYTHON, "-S", "-c", code),
        "feed": FeedTerminal(),
        "readiness": AfterDelay(seconds=0.5),
        "ending": FinishInput(),
        "cwd": cwd,
        "environment": {"PATH": "/usr/bin:/bin", "TMPDIR": str(cwd)},
        "hold": 0.5,
        "ready_timeout": 20.0,
        "grounds": frozenset(grounds),
        **changes,
    }
    return prove(Plan(**settings), lambda _: None)  # type: ignore[arg-type]


def found(arm: ArmRecord, surface: str) -> list[str]:
    return [str(place) for place in arm.places_of(arm.secret_label) if place.surface.value == surface]


def ground(arm: ArmRecord, name: GroundName) -> Ground:
    (one,) = (ground for ground in arm.grounds if ground.name is name)
    return one


SENDS = {
    "whole": "a.sendall(b'key=' + s.encode()); b.recv(100)",
    "byte by byte": (
        "a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\nfor c in s: a.sendall(c.encode()); b.recv(1)"
    ),
    "base64": "a.sendall(base64.b64encode(s.encode())); b.recv(100)",
    "datagram": (
        "u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('::1', 0))\n"
        "u.sendto(s.encode(), u.getsockname())"
    ),
}


@pytest.mark.parametrize("name", list(SENDS))
def test_what_is_sent_is_found_in_packets(tmp_path: Path, name: str) -> None:
    result = experiment(tmp_path, READ + CONNECTED + SENDS[name] + WAIT, GroundName.PACKETS)
    assert result.verdict.outcome is Outcome.LEAKED, as_text(result)
    for arm in result.arms:
        assert ground(arm, GroundName.PACKETS).whole.holds
        assert any(re.search(r"lo, (TCP|UDP) .* > ", place) for place in found(arm, "packet")), as_text(result)


def test_a_capture_is_kept_on_request(tmp_path: Path) -> None:
    code = READ + CONNECTED + SENDS["whole"] + WAIT
    result = experiment(tmp_path, code, GroundName.PACKETS, pcap=tmp_path.parent / "kept")
    assert result.verdict.outcome is Outcome.LEAKED
    for arm in ("native", "enclaved"):
        assert b"key=" in (tmp_path.parent / f"kept-{arm}.pcap").read_bytes()


def test_a_quiet_program_is_protected_everywhere(tmp_path: Path) -> None:
    """A terminal shows in the native trace as `read(0, SECRET)`; the enclaved trace has only the pointer."""
    result = experiment(tmp_path, READ + WAIT, GroundName.PACKETS, GroundName.TRACES)
    assert result.verdict.outcome is Outcome.PROTECTED, as_text(result)
    assert any("read on /dev/pts/" in place for place in found(result.native, "system call")), as_text(result)
    assert not found(result.enclaved, "system call")
    traced = ground(result.enclaved, GroundName.TRACES)
    assert any("secret memory" in line for line in traced.seen)
    assert {control.name for control in result.verdict.controls} >= {
        "enclaved traces",
        "enclaved packets",
        "enclaved files",
    }


def test_files_and_sockets_show_natively_in_the_calls(tmp_path: Path) -> None:
    code = READ + CONNECTED + "a.sendall(s.encode()); b.recv(100)\nopen('kept', 'w').write(s)" + WAIT
    result = experiment(tmp_path, code, GroundName.TRACES)
    shown = " ".join(found(result.native, "system call"))
    assert "sendto on TCP" in shown
    assert "recvfrom on TCP" in shown
    assert re.search(r"write on \S*/kept", shown)
    assert not found(result.enclaved, "system call"), "what is passed to these calls is in secret memory"
    assert {place.surface.value for place in result.verdict.leaks} == {"file"}, as_text(result)


def test_a_call_with_its_buffer_in_ordinary_memory_is_found_enclaved(tmp_path: Path) -> None:
    code = READ + (
        "f = os.open('map', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 4096)\n"
        "m = mmap.mmap(f, 4096); m[: len(s)] = s.encode()\n"
        "for _ in range(20): os.write(os.open('/dev/null', os.O_WRONLY), memoryview(m)[: len(s)])"
    )
    result = experiment(tmp_path, code + WAIT, GroundName.TRACES)
    assert any("write" in place for place in found(result.enclaved, "system call")), as_text(result)


def test_what_passes_inside_the_kernel_is_no_proof(tmp_path: Path) -> None:
    code = READ + "r, w = os.pipe(); q, x = os.pipe(); os.write(w, s.encode()); os.splice(r, x, 100); os.read(q, 100)"
    result = experiment(tmp_path, code + WAIT, GroundName.TRACES)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, as_text(result)
    assert {"native traces", "enclaved traces"} & {control.name for control in result.verdict.failed}


def test_what_is_written_in_a_shielded_directory_is_protected(tmp_path: Path) -> None:
    """The same program leaks natively, and enclaved without the shield."""
    region = Region(tmp_path, "shielded").make()
    region.path.mkdir()
    code = READ + f"f = open('{region.path}/kept-' + s, 'w'); f.write(s); f.flush(); os.fsync(f.fileno())" + WAIT
    region.command([])  # writes the policy
    block = resolve(read_policy_file(region.base / "shield.toml"), LocalKeys()).serialize()
    grounds = (GroundName.TRACES, GroundName.PACKETS)
    shielded = experiment(tmp_path, code, *grounds, shield=block)
    assert shielded.verdict.outcome is Outcome.PROTECTED, as_text(shielded)
    surfaces = {place.surface.value for place in shielded.native.places}
    assert surfaces >= {"file", "file name", "system call", "memory"}
    assert any(path.endswith("shielded.volume") for path in ground(shielded.enclaved, GroundName.FILES).seen)
    plain = experiment(tmp_path, code.replace("kept-", "again-"), *grounds)
    assert plain.verdict.outcome is Outcome.LEAKED


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of its own, whose blocks may be read: those of the machine's may not everywhere. All is written there."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "disk"))
    image, mount = tmp_path / "image", tmp_path / "disk"
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=60)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"no loop mounts here: {done.stderr.decode().strip()}")
    try:
        yield mount
    finally:
        unmount(mount)


@pytest.mark.needs_program("mkfs.ext4", "mount")
def test_a_deleted_file_is_found_on_the_disk(disk: Path) -> None:
    """What was deleted before the kernel wrote it out, never was there: so the program sees to that."""
    code = (
        READ
        + "f = open('gone', 'w'); f.write('key=' + s); f.flush(); os.fsync(f.fileno()); f.close(); os.unlink('gone')"
        + WAIT
    )
    result = experiment(disk, code, GroundName.BLOCKS)
    assert result.verdict.outcome is Outcome.LEAKED, as_text(result)
    for arm in result.arms:
        assert ground(arm, GroundName.BLOCKS).whole.holds, as_text(result)
        assert any(re.search(r"at byte [\d,]+, where .*/gone", place) for place in found(arm, "disk block"))


@pytest.mark.needs_program("mkfs.ext4", "mount")
def test_another_file_on_the_disk_is_no_leak(disk: Path) -> None:
    result = experiment(disk, READ + "open('kept', 'w').write('nothing' * 999)" + WAIT, GroundName.BLOCKS)
    assert result.verdict.outcome is Outcome.PROTECTED, as_text(result)
    assert not ground(result.enclaved, GroundName.BLOCKS).amount.startswith("0 bytes")
