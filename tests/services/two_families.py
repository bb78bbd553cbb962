"""lease.c in the enclave: two families of processes with one shielded file, by orders."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.runtime_programs.arms import HERE
from tests.services.shielded import Shielded

__all__ = ["Families", "build", "families"]

QUICKLY = 5.0  # seconds; whoever is not recalled lets others wait for 30


def build(directory: Path) -> str:
    """The program, compiled."""
    target = directory / "lease"
    subprocess.run(["cc", "-O1", "-Wall", "-o", target, HERE / "lease.c", "-lpthread"], check=True)
    return str(target)


@dataclass(frozen=True, kw_only=True)
class Families:
    """One that was started, and the other, which it has executed."""

    process: "subprocess.Popen[str]"

    def ask(self, order: str) -> str:
        """The answer to an order."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def read_quickly(self) -> int:
        """What the one reads; it must not wait until its patience is over."""
        begun = time.monotonic()
        there = int(self.ask("read"))
        assert time.monotonic() - begun < QUICKLY
        return there

    def other(self) -> int:
        """The other's process id."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)


@contextlib.contextmanager
def families(place: Shielded, program: str) -> Iterator[Families]:
    """Both, until the end, of which nothing may be said on standard error."""
    with place.start([program, "/data/file"]) as process:
        try:
            both = Families(process=process)
            assert both.ask("other") == "0"
            yield both
            assert process.stdin
            process.stdin.close()
            assert process.wait(60) == 0
            assert process.stderr
            assert process.stderr.read() == ""
        finally:
            process.kill()
