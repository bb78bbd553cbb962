"""`cloister seal` and `cloister unseal`, as a person or a script runs them."""

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.forge.sealing import software_tpm

SECRET = b"correct horse battery staple\n"
ROOT = Path(__file__).parents[2]
FOR_ANOTHER, BROKEN = 4, 5


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a program and a secret, and no platform key yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "app").write_bytes(b"\x7fELF a program")
    (tmp_path / "evil").write_bytes(b"\x7fELF another program")
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path


def cloister(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from cloister.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, **options,
    )  # fmt: skip


def seal(*words: str, **options: Any) -> None:
    done = cloister("seal", "--program", "app", *words, **options)
    assert done.returncode == 0, done.stderr.decode()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_there_and_back(place: Path) -> None:
    done = cloister("seal", "--program", "app", "--label", "L", "-o", "out.sealed", "secret")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"your word" in done.stderr
    assert mode(place / "out.sealed") == mode(place / "data/cloister/platform.key") == 0o600
    assert SECRET not in (place / "out.sealed").read_bytes()
    back = cloister("unseal", "--program", "app", "--label", "L", "out.sealed")
    assert (back.returncode, back.stdout, back.stderr) == (0, SECRET, b"")
    assert cloister("unseal", "--program", "app", "--label", "L", "-o", "back", "out.sealed").returncode == 0
    assert ((place / "back").read_bytes(), mode(place / "back")) == (SECRET, 0o600)


@pytest.mark.usefixtures("place")
def test_pipes() -> None:
    data = os.urandom(300_000)
    sealed = cloister("seal", "--program", "app", input=data)
    assert sealed.returncode == 0
    assert cloister("unseal", "--program", "app", input=sealed.stdout).stdout == data
    broken = cloister("unseal", "--program", "app", input=sealed.stdout[:-1])
    assert (broken.returncode, broken.stdout) == (BROKEN, b"")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--program", "evil"], "another measurement"),
        (["--program", "app", "--debug"], "another mode"),
        (["--program", "app", "--label", "x"], "another label"),
        (["--program", "app", "--platform-key", "other.key"], "another platform"),
        (["--program", "app", "--counter", "counter"], "was not sealed with this counter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_say_why(place: Path, words: list[str], told: str) -> None:
    seal("-o", "out.sealed", "secret")
    seal("--platform-key", "other.key", "-o", "other.sealed", "secret")
    for more in ([], ["-o", "plain"]):
        done = cloister("unseal", *words, *more, "out.sealed")
        assert (done.returncode, done.stdout) == (FOR_ANOTHER, b"")
        assert told in done.stderr.decode()
        assert SECRET not in done.stderr
    assert not (place / "plain").exists()


@pytest.mark.needs_program("openssl")
@pytest.mark.usefixtures("place")
def test_updates_of_the_signer(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.key"], check=True, timeout=30)
        subprocess.run(
            ["openssl", "pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pem"], check=True, timeout=30
        )
    seal("--signer", "ours.pem", "--policy", "signer", "--security-version", "3", "-o", "out.sealed", "secret")
    update = ["unseal", "--program", "evil", "out.sealed", "--security-version"]
    assert cloister(*update, "4", "--signer", "ours.pem").stdout == SECRET
    for version, signer, told in (
        ("2", "ours.pem", "an older security version"),
        ("3", "theirs.pem", "another signer"),
    ):
        done = cloister(*update, version, "--signer", signer)
        assert (done.returncode, told in done.stderr.decode()) == (FOR_ANOTHER, True), done.stderr
    assert "without a signer" in cloister(*update, "3").stderr.decode()
    assert not (tmp_path / "plain").exists()


def test_damage_writes_nothing(place: Path) -> None:
    (place / "big").write_bytes(os.urandom(200_000))
    seal("-o", "out.sealed", "big")
    sealed = bytearray((place / "out.sealed").read_bytes())
    sealed[-1] ^= 1
    (place / "out.sealed").write_bytes(sealed)
    before = set(place.iterdir())
    for more in ([], ["-o", "plain"]):
        done = cloister("unseal", "--program", "app", *more, "out.sealed")
        assert (done.returncode, done.stdout) == (BROKEN, b""), "not even the chunks that are authentic"
    assert set(place.iterdir()) == before


@pytest.mark.usefixtures("place")
def test_a_counter_refuses_yesterdays_file(place: Path) -> None:
    counted = ["--counter", "count"]
    seal(*counted, "-o", "one", "secret")
    seal(*counted, "-o", "two", "secret")
    assert cloister("unseal", "--program", "app", *counted, "two").stdout == SECRET
    old = cloister("unseal", "--program", "app", *counted, "one")
    assert (old.returncode, b"it is old" in old.stderr) == (FOR_ANOTHER, True)
    assert cloister("seal", "--program", "app", *counted, "secret").returncode == 2
    assert mode(place / "count") == 0o600


@pytest.mark.needs_program("swtpm", "tpm2_getcap")
def test_with_a_tpm(place: Path) -> None:
    pytest.importorskip("tpm2_pytss", reason="not installed: tpm2-pytss", exc_type=ImportError)
    with software_tpm(place / "tpm") as tcti:
        options = ["--platform-key", "tpm", "--tpm", tcti, "--counter", "tpm:0x01800010"]
        seal(*options, "-o", "out.sealed", "secret")
        assert cloister("unseal", "--program", "app", *options, "out.sealed").stdout == SECRET
    assert not (place / "data").exists(), "no platform key in a file"
    with software_tpm(place / "another tpm") as tcti:
        done = cloister("unseal", "--program", "app", "--platform-key", "tpm", "--tpm", tcti, "out.sealed")
        assert (done.returncode, b"another platform" in done.stderr) == (FOR_ANOTHER, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["seal", "secret", "-o", "x"], 2),
        (["seal", "--program", "missing", "secret", "-o", "x"], 127),
        (["seal", "--program", "app", "missing", "-o", "x"], 2),
        (["seal", "--program", "app", ".", "-o", "x"], 2),
        (["seal", "--program", "app", "--security-version", "-1", "secret", "-o", "x"], 2),
        (["seal", "--program", "app", "--label", "a\nb", "secret", "-o", "x"], 2),
        (["seal", "--program", "app", "--policy", "signer", "secret", "-o", "x"], 2),
        (["seal", "--program", "app", "--counter", "tpm:x", "secret", "-o", "x"], 2),
        (["seal", "--program", "app", "secret", "-o", "app"], 2),
        (["unseal", "--program", "app", "secret"], 2),
        (["unseal", "--show", "secret"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_and_nothing_is_written(place: Path, words: list[str], code: int) -> None:
    done = cloister(*words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert re.fullmatch(r"cloister (un)?seal: .{10,}\n", done.stderr.decode())
    assert not (place / "x").exists()
    assert (place / "app").read_bytes() == b"\x7fELF a program"


def test_a_tpm_that_is_not_there_is_one_line(place: Path) -> None:
    pytest.importorskip("tpm2_pytss", reason="not installed: tpm2-pytss", exc_type=ImportError)
    for words in (["--platform-key", "tpm"], ["--counter", "tpm:0x01800010"]):
        done = cloister("seal", "--program", "app", *words, "--tpm", "device:/dev/null-tpm", "-o", "x", "secret")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
        assert b"device:/dev/null-tpm" in done.stderr
    assert not (place / "x").exists()


def test_show_needs_no_key_and_says_that_nothing_was_checked(place: Path) -> None:
    seal("--label", "L", "-o", "out.sealed", "secret")
    (place / "data/cloister/platform.key").unlink()
    done = cloister("unseal", "--show", "out.sealed")
    assert done.returncode == 0
    assert b"NOT CHECKED" in done.stderr
    assert b"software:executable=sha256:" in done.stdout
    missing = cloister("unseal", "--program", "app", "--label", "L", "out.sealed")
    assert (missing.returncode, b"platform key" in missing.stderr) == (2, True)
    assert not (place / "data/cloister/platform.key").exists(), "unsealing makes no key: it could not be the right one"


def test_no_file_and_no_argument_ever_holds_the_secret(place: Path) -> None:
    """Looked at again and again while 16 MiB go in and out: directory entries and their content, and /proc."""
    data = SECRET * (16 * 1024 * 1024 // len(SECRET))
    found: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            found.extend(str(one) for one in place.rglob("*") if one.name not in KNOWN and holds(one))
            found.extend(str(one) for one in Path("/proc").glob("[0-9]*/cmdline") if holds(one))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    sealed = cloister("seal", "--program", "app", "-o", "out.sealed", input=data)
    opened = cloister("unseal", "--program", "app", "out.sealed")
    ended.set()
    watcher.join(30)
    assert (sealed.returncode, opened.returncode, opened.stdout == data) == (0, 0, True)
    assert found == []
    assert holds(place / "secret"), "control: it would be found"


KNOWN = ("secret",)


def holds(path: Path) -> bool:
    try:
        return path.is_file() and SECRET.strip() in path.read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("command", ["seal", "unseal", "control"])
def test_no_core_file(place: Path, command: str) -> None:
    """Killed by a signal that leaves a core, while they wait for input; without a word to the kernel, there is one."""
    ready = "import sys; print('ready', flush=True); "
    code = (
        f"{ready}from cloister.cli import main; sys.exit(main())"
        if command != "control"
        else f"{ready}sys.stdin.read()"
    )
    seal("-o", "out.sealed", "secret")
    process = subprocess.Popen(
        [sys.executable, "-c", code, command, "--program", "app", "-o", str(place / "x")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"ready\n"
        wait_until_it_reads(process.pid)
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        process.send_signal(signal.SIGABRT)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGABRT
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert os.WCOREDUMP(status) is (command == "control")


def wait_until_it_reads(process: int) -> None:
    """Until its one thread waits in read(2) of descriptor 0."""
    deadline = time.monotonic() + 20
    while not Path(f"/proc/{process}/syscall").read_text().startswith("0 0x0 "):
        assert time.monotonic() < deadline
        time.sleep(0.02)
