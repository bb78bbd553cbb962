"""What a program hands to those that it executes: nobody reads or changes it on the way, nobody else gets the key."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.security.victims import wait_until_gone

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path
from cloister.observe.family import family

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

HERE = Path(__file__).resolve().parent / "runtime_programs"
CHILDREN = 200
LOOP = f"""read -r S; echo ready; read -r go; i=0
while [ $i -lt {CHILDREN} ]; do TOKEN=$S /bin/echo "$S" >/dev/null || echo failed; i=$((i+1)); done; echo done
while read -r line; do eval "$line"; echo "status $?"; done"""
SURFACES = ("in_environ", "in_cmdline", "in_memory", "in_memfd")
STATIC = ("-static",)
BARE = ("-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fcf-protection=none")


def compiled(directory: Path, name: str, *flags: str) -> Path:
    target = directory / name
    command = ["cc", "-O1", "-Wall", *flags, "-o", str(target), str(HERE / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("handoff")
    compiled(directory, "watcher")
    compiled(directory, "enter", *STATIC)
    compiled(directory, "foreign", *BARE)
    return directory


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell that has a secret and starts children with it, when told."""

    process: subprocess.Popen[str]
    secret: str

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def everyone(self) -> list[int]:
        return [member.pid for member in family(self.process.pid)]


@contextlib.contextmanager
def shell(*, enclaved: bool) -> Iterator[Shell]:
    """The secret comes by standard input, so that it stands nowhere before it is handed on."""
    words = ["sh", "-c", LOOP]
    command = [str(runtime_path()), "--", "/bin/sh", *words] if enclaved else ["/bin/sh", *words[1:]]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    try:
        running = Shell(process=process, secret=f"handed-{secrets.token_hex(16)}")
        running.say(running.secret)
        assert running.hear() == "ready"
        yield running
    finally:
        process.kill()
        process.communicate()


def watch_children(programs: Path, running: Shell, block: Path) -> dict[str, int]:
    """What the watcher counted while the shell started its children."""
    pids = [str(pid) for pid in running.everyone()]
    pipe = subprocess.PIPE
    with subprocess.Popen([programs / "watcher", block, *pids], stdin=pipe, stdout=pipe, text=True) as watcher:
        assert watcher.stdin
        assert watcher.stdout
        watcher.stdin.write(running.secret + "\n")
        watcher.stdin.flush()
        assert watcher.stdout.readline() == "watching\n"
        running.say("go")
        assert running.hear() == "done"
        output, _ = watcher.communicate(timeout=60)
    return {name: int(number) for name, number in map(str.split, output.splitlines())}


def test_a_native_shell_shows_what_it_hands_on(programs: Path, tmp_path: Path) -> None:
    """The control: the watcher is quick enough, and finds the secret in each of these places."""
    with shell(enclaved=False) as running:
        seen = watch_children(programs, running, tmp_path / "block")
    assert seen["in_environ"]
    assert seen["in_cmdline"]
    assert seen["in_memory"]
    assert not seen["blocks"]


def test_nothing_of_what_is_handed_on_can_be_read(programs: Path, tmp_path: Path) -> None:
    with shell(enclaved=True) as running:
        assert len(running.everyone()) == 3, "the shell and its guards"
        seen = watch_children(programs, running, tmp_path / "block")
        assert {name: seen[name] for name in SURFACES} == dict.fromkeys(SURFACES, 0), seen
        assert seen["images"] > CHILDREN / 10, f"it must have seen children before they were started: {seen}"
        assert seen["blocks"] > CHILDREN / 20, f"it must have seen what they are handed: {seen}"
        assert seen["memory_bytes"] > 1 << 20
        assert running.secret.encode() not in (tmp_path / "block").read_bytes()


@pytest.mark.needs_program("bash")
def test_argument_0_is_handed_on_like_the_others() -> None:
    """ps(1) gets the name of the file instead: argument 0 is whatever its parent wanted it to be."""
    secret = f"handed-{secrets.token_hex(16)}"
    code = 'read -r S; exec -a "$S" /bin/sh -c "echo \\$0; read -r line"'
    pipe = subprocess.PIPE
    words = [str(runtime_path()), "--", "/bin/bash", "bash", "-c", code]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{secret}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{secret}\n"
        assert Path(f"/proc/{process.pid}/cmdline").read_bytes().strip(b"\0") == b"sh"
        process.stdin.close()


@pytest.fixture(scope="module")
def caught(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Path]]:
    """A running tree, and a block that root took from it."""
    block = tmp_path_factory.mktemp("caught") / "block"
    with shell(enclaved=True) as running:
        watch_children(programs, running, block)
        assert block.stat().st_size > len(running.secret)
        yield running, block


def execute_with(running: Shell, block: Path) -> list[str]:
    """A program of the tree executes the runtime with this block; what that says, and how it ends.

    The block was made for /bin/echo. That counts, not what the command line says, where root could have changed it.
    """
    running.say(f"{runtime_path()} --handoff-fd=3 --program-fd=0 -- /bin/false false 3<{block}")
    lines = [running.hear()]
    while lines[-1] and not lines[-1].startswith("status "):
        lines.append(running.hear())
    return lines


def test_a_block_of_the_tree_is_read(caught: tuple[Shell, Path]) -> None:
    """The control: the tree itself can read it, so what is refused below is refused for the reason given."""
    running, block = caught
    assert execute_with(running, block) == [running.secret, "status 0"]


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    for at in (0, 4, 8, 19, 20, 24, len(content) // 2, len(content) - 17, len(content) - 16, len(content) - 1):
        yield f"byte {at}", content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    yield "cut", content[:-1]
    yield "longer", content + b"\0"
    yield "header only", content[:20]
    yield "header and tag", content[:20] + content[-16:]
    yield "empty", b""
    yield "zeros", bytes(len(content))


def test_a_changed_block_is_refused(caught: tuple[Shell, Path], tmp_path: Path) -> None:
    running, block = caught
    for what, content in damaged(block.read_bytes()):
        changed = tmp_path / "changed"
        changed.write_bytes(content)
        lines = execute_with(running, changed)
        assert lines[-1] == f"status {_abi.EXIT_CANNOT_PROTECT}", (what, lines)
        assert "--handoff-fd" in lines[0], (what, lines)
        assert not [line for line in lines if running.secret in line]


@pytest.mark.parametrize("content", ["another tree's", "garbage"])
def test_another_enclave_cannot_read_a_block(caught: tuple[Shell, Path], content: str, tmp_path: Path) -> None:
    block = caught[1]
    if content == "garbage":
        block = tmp_path / "garbage"
        block.write_bytes(secrets.token_bytes(3000))
    with block.open("rb") as file:
        command = [str(runtime_path()), f"{_abi.OPTION_HANDOFF_FD}{file.fileno()}", "--", "/usr/bin/env", "env"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=(file.fileno(),))
    assert (done.returncode, done.stdout) == (_abi.EXIT_CANNOT_PROTECT, "")
    assert "not sealed in this enclave" in done.stderr


def changed_copy(target: Path) -> None:
    """The runtime with one letter of a message changed: as harmless as a change can be."""
    content = Path(runtime_path()).read_bytes()
    assert content.count(b"not found\0") >= 1
    target.write_bytes(content.replace(b"not found\0", b"not fOund\0", 1))


def prison(programs: Path, tmp_path: Path, kind: str) -> Path:
    """A root directory without /proc: there the runtime is executed by its path, where root puts what he likes."""
    place = tmp_path / "prison"
    stand_in = place / str(runtime_path()).lstrip("/")
    stand_in.parent.mkdir(parents=True)
    if kind == "copy":
        shutil.copy(runtime_path(), stand_in)
    elif kind == "changed":
        changed_copy(stand_in)
    else:
        shutil.copy(programs / "foreign", stand_in)
    stand_in.chmod(0o755)
    shutil.copy(programs / "enter", place / "program")
    return place


def enter(programs: Path, place: Path, secret: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(runtime_path()), "--", str(programs / "enter"), "enter", str(place), "/program"]
    return subprocess.run(command, input=secret.encode() + b"\n", capture_output=True, check=False, timeout=60)


def test_a_copy_of_the_runtime_is_the_runtime(programs: Path, tmp_path: Path) -> None:
    """The control: byte for byte the same, it gets the key and keeps it as well."""
    done = enter(programs, prison(programs, tmp_path, "copy"), "secret-1")
    assert (done.returncode, done.stdout) == (0, b"secret-1 TOKEN=secret-1\n"), done.stderr


def test_a_changed_runtime_gets_no_key(programs: Path, tmp_path: Path) -> None:
    done = enter(programs, prison(programs, tmp_path, "changed"), "secret-2")
    assert (done.returncode, done.stdout) == (_abi.EXIT_CANNOT_PROTECT, b"")
    assert b"did not recognise" in done.stderr


def test_a_foreign_program_gets_no_key(programs: Path, tmp_path: Path) -> None:
    secret = f"secret-{secrets.token_hex(8)}"
    done = enter(programs, prison(programs, tmp_path, "foreign"), secret)
    lines = done.stdout.split(b"\n", 8)
    assert lines[0] == b"cloister-enclave", "it was executed in the runtime's stead"
    assert done.stdout.count(b"refused unchanged\n") == 2
    assert b"GIVEN" not in done.stdout
    assert len(done.stdout) > 200, "it did read its block"
    assert secret.encode() not in done.stdout


@pytest.mark.parametrize("which", [0, 1])
def test_without_a_guard_nothing_goes_on(which: int) -> None:
    """The guard has the key: when it is killed in the midst of handing on, the tree dies as ever."""
    with shell(enclaved=True) as running:
        guards = [member.pid for member in family(running.process.pid) if member.role == "guard"]
        assert len(guards) == 2
        running.say("go")
        time.sleep(0.1)
        everyone = running.everyone()
        os.kill(guards[which], signal.SIGKILL)
        assert wait_until_gone(everyone) == []
