"""The kernel's side of configfs-tsm and of /dev/sev-guest, with somebody else's evidence behind it.

`Reports` are real files in a real directory: making a directory there fills it, writing `inblob` makes the answer, as
the kernel does (drivers/virt/coco/guest/report.c). It hears of both by standing in front of mkdir(2) and write(2).
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloister.attest.guest import tsm
from cloister.attest.guest.sev_guest_unsafe import Exchange

__all__ = ["Reports", "SevDevice"]

Answer = Callable[[bytes], tuple[bytes, bytes]]
"""From 64 bytes of report data to the evidence and what stands in auxblob."""


@dataclass
class Reports:
    """The directory `report`; `provider` is the kernel's name for the maker."""

    path: Path
    provider: str
    answer: Answer
    meddling: int = 0
    """So many times somebody else writes to the question before it is read."""
    written: dict[str, bytes] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the module under test speaks to this."""
        self.path.mkdir(parents=True)
        calls = {name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
        monkeypatch.setattr(
            tsm, "os", SimpleNamespace(**calls | {"mkdir": self._mkdir, "rmdir": self._rmdir, "write": self._write})
        )

    def _mkdir(self, path: Path) -> None:
        Path(path).mkdir()
        for name, content in {"generation": b"0\n", "provider": self.provider.encode() + b"\n", "outblob": b""}.items():
            (path / name).write_bytes(content)
        for name in ("inblob", "privlevel", "service_provider"):
            (path / name).touch(mode=0o200)

    def _rmdir(self, path: Path) -> None:
        for file in Path(path).iterdir():
            file.unlink()
        Path(path).rmdir()

    def _write(self, descriptor: int, data: bytes) -> int:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if target.name == "inblob" and len(data) != 64:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        count = os.write(descriptor, data)
        self.written[target.name] = data
        self._count(target.parent)
        if target.name == "inblob":
            outblob, auxblob = self.answer(data)
            (target.parent / "outblob").write_bytes(outblob)
            if auxblob:
                (target.parent / "auxblob").write_bytes(auxblob)
            if self.meddling:
                self.meddling -= 1
                self._count(target.parent)
        return count

    def _count(self, folder: Path) -> None:
        generation = folder / "generation"
        generation.write_text(f"{int(generation.read_text()) + 1}\n")


@dataclass
class SevDevice:
    """The ioctl of /dev/sev-guest: a report for a question, or what the firmware or the host says instead."""

    answer: Answer
    room_of_certificates: int = 0
    error: int = 0
    host_error: int = 0
    asked: list[tuple[bytes, int]] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)

    def __call__(self, descriptor: int, question: bytes, room: int) -> Exchange:
        """As SNP_GET_EXT_REPORT answers."""
        os.fstat(descriptor)
        self.asked.append((question, room))
        if self.error:
            return Exchange(b"", b"", error=self.error, host_error=self.host_error)
        if room < self.room_of_certificates:
            return Exchange(b"", b"", error=errno.EIO, host_error=1, room_needed=self.room_of_certificates)
        report, table = self.answer(question[:64])
        head = self.start.get("status", 0).to_bytes(4, "little") + self.start.get("size", len(report)).to_bytes(
            4, "little"
        )
        return Exchange((head + bytes(24) + report).ljust(4000, b"\0"), table.ljust(room, b"\0") if table else b"")
