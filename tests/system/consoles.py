"""A program whose console is shielded, on a host, and the person who attaches to it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.arms import CLOISTER_ENVIRONMENT
from tests.system.attested import CLOISTER
from tests.system.process_tree import below, kill
from tests.system.terminal import Terminal

from cloister.attest.host_key import FileHostKey

SECONDS = 60
TOOLS = "cat /dev/null; stty -a; tty; sleep 0; head -c 1 /dev/null; seq 1; yes | head -1"
"""What the shells of these tests start."""


@dataclass(kw_only=True)
class Machine:
    """A host: its key, and manifests of programs that it runs."""

    home: Path
    manifests: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key.write_bytes(FileHostKey(self.home / "cloister" / "host-key.pem").public_pem())

    @property
    def key(self) -> Path:
        """The public half."""
        return self.home / "host.pem"

    @property
    def environment(self) -> dict[str, str]:
        return {**CLOISTER_ENVIRONMENT, "XDG_STATE_HOME": str(self.home), "TERM": "xterm"}

    def manifest(self, name: str, *learned: str) -> Path:
        """What the program may load; learned by running it with these words, if there are any."""
        if name not in self.manifests:
            path = self.home / f"{name}.toml"
            words = ["--learn", "-o", str(path), "--", name, *learned] if learned else ["-o", str(path), name]
            subprocess.run(
                [*CLOISTER, "measure", "-q", *words], env=self.environment, check=True, timeout=SECONDS,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.manifests[name] = path
        return self.manifests[name]

    @staticmethod
    def measurement(manifest: Path) -> str:
        """What `cloister measure` says of it."""
        [line] = [line for line in manifest.read_text().splitlines() if line.startswith("# software:measurement=")]
        return line.partition("=")[2]


@dataclass(kw_only=True)
class Console:
    """`cloister run --console`, waiting; `address` is where."""

    machine: Machine
    run: "subprocess.Popen[bytes]"
    address: Path
    manifest: Path

    def words(self, *options: str, address: Path | None = None) -> list[str]:
        """The command of the person, who says which program they expect."""
        expected = ["--measurement", self.machine.measurement(self.manifest), "--trust-host-key", str(self.machine.key)]
        return [*CLOISTER, "attach", *(options or expected), str(address or self.address)]

    def attach(
        self, given: bytes = b"", *options: str, command: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[bytes]":
        """Without a terminal: all that is given at once, all that comes back."""
        words = [*self.words(*options), *(["--", *command] if command else [])]
        return subprocess.run(
            words, input=given, env=self.machine.environment, capture_output=True, check=False, timeout=SECONDS
        )

    def terminal(self, *options: str, env: Mapping[str, str] = {}) -> Terminal:
        """The person at a terminal."""
        variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        words = self.words(*options)
        return Terminal([*words[:-1], *variables, words[-1]], env=self.machine.environment)


@contextlib.contextmanager
def waiting(machine: Machine, address: Path, words: Sequence[str], manifest: Path) -> Iterator[Console]:
    """The program, waiting for its person. Whatever is left of it is killed."""
    command = [*CLOISTER, "run", "--console", str(address), "--manifest", str(manifest), "--", *words]
    with subprocess.Popen(
        command, env=machine.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        try:
            assert run.stdout
            line = run.stdout.readline()
            assert b"waiting for the person" in line, line + run.stdout.read()
            yield Console(machine=machine, run=run, address=address, manifest=manifest)
        finally:
            kill({run.pid, *below(run.pid)})


def wait_until(true: "object", seconds: float = 20) -> None:
    """Until the function says so."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def relay_of(run: int) -> int:
    """The carrier beside a program that `cloister run` started: it has left the tree, and holds its first process."""
    wait_until(lambda: any(_relays(run)))
    return next(_relays(run))


def _relays(run: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != run:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                if b"cloister.attest.carrier" in words and _starter(int(name), run):
                    yield int(name)


def _starter(carrier: int, run: int) -> bool:
    """Whether the carrier holds a pidfd of a child of `run`."""
    mine = below(run)
    for entry in Path(f"/proc/{carrier}/fdinfo").iterdir():
        text = entry.read_text()
        found = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:")]
        if found and found[0] in mine:
            return True
    return False
