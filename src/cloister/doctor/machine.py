"""What the kernel says about the machine in /proc, /sys and /dev. The root is a parameter, so tests bring theirs."""

import os
from dataclasses import dataclass
from pathlib import Path

from cloister.doctor.check import Check, Command, Fix, Topic

__all__ = ["Machine", "Text", "Unread"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """The content of a file, without the surrounding white space."""

    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A file that could not be read; `absent` tells "there is none" from "not allowed" and other failures."""

    reason: str
    absent: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The file system that describes the machine; `/` but for tests."""

    root: Path = Path("/")

    def read(self, path: str) -> Text | Unread:
        """The text of `path`, an absolute path on the machine."""
        try:
            return Text(value=self.at(path).read_text(encoding="utf-8", errors="replace").strip())
        except OSError as error:
            return Unread(reason=f"{path}: {error.strerror}", absent=isinstance(error, FileNotFoundError))

    def at(self, path: str) -> Path:
        """Where the machine's absolute path `path` is, under this root."""
        return self.root / path.removeprefix("/")

    def status_field(self, field: str) -> str:
        """The first word of a field of /proc/self/status; empty if there is no such field."""
        status = self.read("/proc/self/status")
        lines = status.value.splitlines() if isinstance(status, Text) else []
        return next((line.split()[1] for line in lines if line.startswith(f"{field}:")), "")

    def opens(self, path: str) -> bool:
        """Whether this process may read and write the file at `path`."""
        return os.access(self.at(path), os.R_OK | os.W_OK)

    def device(self, topic: Topic, path: str, *, absent: Fix) -> Check:
        """Whether the device file exists and this process may read and write it."""
        if not self.at(path).exists():
            return topic.missing(f"{path} does not exist", absent)
        if not self.opens(path):
            return topic.denied(f"{path} exists; this user may not open it", _let_in(self.at(path), path))
        return topic.ok(f"{path} may be opened")


def _let_in(real: Path, path: str) -> Command:
    """Joining the device's group is the lasting fix; only root's own devices need sudo."""
    try:
        group = real.group()
    except (KeyError, OSError):
        group = "root"
    if group == "root":
        return Command(text=f"sudo setfacl -m u:$USER:rw {path}")
    return Command(text=f"sudo usermod -aG {group} $USER   # then log in again")
