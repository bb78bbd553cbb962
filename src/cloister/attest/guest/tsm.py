"""Asking for a report by configfs-tsm (Linux Documentation/ABI/testing/configfs-tsm-report).

A directory that is made under `report` is one question: `inblob` takes 64 bytes, `outblob` gives the evidence. Whoever
else writes to the same directory raises `generation`, so that an answer to another question is told from ours.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.attest.guest.report import REPORT_DATA_SIZE, GuestReport
from cloister.errors import CannotProtect, UsageError

__all__ = ["REPORTS", "ask_tsm"]

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
ATTEMPTS: Final = 5
LONGEST: Final = 1 << 20
"""Bytes of a blob. DICE quotes of TDX, with their certificates, have tens of thousands."""
OVERTAKEN: Final = frozenset({errno.EWOULDBLOCK, errno.EBUSY, errno.EINTR})


def ask_tsm(
    report_data: bytes, *, reports: Path = REPORTS, privilege_level: int | None = None, service: str = ""
) -> GuestReport:
    """Evidence with `report_data`, 64 bytes, in it. CannotProtect, UsageError.

    `privilege_level` is the VMPL that an SNP report shall name; `service` is "svsm" to ask an SVSM instead.
    """
    if len(report_data) != REPORT_DATA_SIZE:
        raise ValueError(f"report data has {REPORT_DATA_SIZE} bytes, not {len(report_data)}")
    written = {"inblob": report_data}
    if privilege_level is not None:
        written["privlevel"] = str(privilege_level).encode()
    if service:
        written["service_provider"] = service.encode()
    for _ in range(ATTEMPTS):
        with _question(reports) as folder:
            answer = _answer(folder, written)
            if answer is not None:
                return answer
    raise CannotProtect(
        f"{reports}: {ATTEMPTS} times somebody else wrote to the question, so there is no answer to ours"
    )


def _answer(folder: Path, written: dict[str, bytes]) -> GuestReport | None:
    """None if somebody else wrote meanwhile."""
    start = _generation(folder)
    for name, value in written.items():
        _write(folder / name, value)
    try:
        blobs = {
            name: _read(folder / name, optional=name != "outblob") for name in ("outblob", "auxblob", "manifestblob")
        }
    except BlockingIOError:
        return None
    provider = _read(folder / "provider").decode(errors="replace").strip()
    if _generation(folder) != start + len(written):
        return None
    if not blobs["outblob"]:
        raise CannotProtect(f"{folder / 'outblob'} is empty: the kernel made no report")
    return GuestReport(provider, blobs["outblob"], blobs["auxblob"], blobs["manifestblob"])


@contextlib.contextmanager
def _question(reports: Path) -> Iterator[Path]:
    folder = reports / f"cloister-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.mkdir(folder)  # noqa: PTH102 - the kernel fills it
    except PermissionError as error:
        raise UsageError(f"{reports}: asking for a report takes root here; use sudo") from error
    except OSError as error:
        raise CannotProtect(f"cannot ask for a report in {reports}: {error.strerror}") from error
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106


def _generation(folder: Path) -> int:
    text = _read(folder / "generation")
    if not text.strip().isdigit():
        raise CannotProtect(f"{folder / 'generation'} is no number: {text[:40]!r}")
    return int(text)


def _write(path: Path, value: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value)  # in one call: the kernel takes the whole of it, or nothing
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CannotProtect(f"{path}: the kernel does not take {len(value)} bytes: {error.strerror}") from error


def _read(path: Path, *, optional: bool = False) -> bytes:
    """A whole attribute. BlockingIOError if somebody wrote to the question; b"" if it is optional and not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if optional:
            return b""
        raise CannotProtect(f"{path} does not exist: this kernel's interface is another than configfs-tsm's") from None
    except OSError as error:
        raise CannotProtect(f"cannot read {path}: {error.strerror}") from error
    try:
        return _all_of(descriptor, path)
    except OSError as error:
        if error.errno in OVERTAKEN:
            raise BlockingIOError(errno.EWOULDBLOCK, "somebody else wrote") from error
        if optional and error.errno in {errno.ENOENT, errno.ENXIO, errno.EINVAL}:
            return b""
        raise CannotProtect(f"{path}: the kernel or the host refuses a report: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, path: Path) -> bytes:
    found = bytearray()
    while piece := os.read(descriptor, 1 << 16):
        found += piece
        if len(found) > LONGEST:
            raise CannotProtect(f"{path} has more than {LONGEST:,} bytes")
    return bytes(found)
