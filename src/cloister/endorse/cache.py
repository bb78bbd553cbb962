"""The cache: a directory of endorsements, one file each (`cloister.endorse.piece`), kept until somebody removes them.

Nothing is ever replaced by something newer: old evidence is verified with what was true at its time. Files appear whole
or not at all, and are named by their content, so that any number of processes may write at once. There is no index file
that could disagree with the directory: `pieces` reads it, windows and all.

Files are public and signed; what a cache could be abused for is to hold back what is newer. So nobody else may write
to it.
"""

import contextlib
import functools
import os
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from cloister._x509 import Certificate, Crl
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.piece import LARGEST, Piece, plain
from cloister.endorse.store import Endorsements
from cloister.errors import ParseError, UsageError

__all__ = ["default_directory", "endorsements", "load", "pieces", "store"]

SUFFIXES: Final = (".pem", ".json")
PARTIAL: Final = ".partial-"


def default_directory() -> Path:
    """Where endorsements are kept if nothing else is said: $XDG_CACHE_HOME/cloister/collateral."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "cloister" / "collateral"


def load(directory: Path | None = None, *, report: Callable[[str], None] | None = None) -> Endorsements:
    """Everything in a cache, for verification. A directory that does not exist is empty.

    `report` hears of every file that cannot be used; without it they become warnings. UsageError if the directory
    cannot be read, or if others may write to it.
    """
    return endorsements(pieces(directory or default_directory(), report=report or _warn))


def endorsements(found: Iterable[Piece]) -> Endorsements:
    """Pieces as verification takes them."""
    everything = tuple(found)
    contents = [one.content for one in everything]
    return Endorsements(
        certificates=tuple(one for one in contents if isinstance(one, Certificate)),
        crls=tuple(one for one in contents if isinstance(one, Crl)),
        intel=tuple(one for one in contents if isinstance(one, IntelCollateral)),
        sources=tuple(f"{one.name}: {one.source or 'source unknown'}" for one in everything),
    )


def pieces(directory: Path, *, report: Callable[[str], None]) -> list[Piece]:
    """Everything in a cache, by file name. Files that are damaged or are no endorsements are reported and left out."""
    try:
        check_directory(directory)
        names = sorted(name for name in os.listdir(directory) if not name.startswith(PARTIAL))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read the cache {directory}: {error.strerror}; choose another with --cache") from error
    found = []
    for name in names:
        try:
            found.append(_read(directory / name))
        except FileNotFoundError:
            continue  # removed since the directory was listed
        except (OSError, ParseError) as error:
            report(f"{plain(str(directory / name))} is ignored: {error}; remove it and fetch or import again")
    return found


def _read(path: Path) -> Piece:
    """One file of the cache, if it is what its name says."""
    if path.suffix not in SUFFIXES:
        raise ParseError("cache", "name", 0, "is not the name of an endorsement; use `cloister collateral import`")
    piece = _parsed(read_file(path))
    if piece.name != path.name:
        raise ParseError("cache", "content", 0, f"is damaged or renamed: it is that of {piece.name}")
    return piece


@functools.lru_cache(maxsize=256)
def _parsed(data: bytes) -> Piece:
    """The piece in a file; the same object for the same bytes, so that what was verified of it is remembered."""
    return Piece.parse(data)


def read_file(path: Path) -> bytes:
    """The content of a regular file that only its owner and group may write; never waits, never reads without end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ParseError("cache", "file", 0, "is not a regular file")
        if status.st_mode & stat.S_IWOTH:
            raise ParseError("cache", "file", 0, "may be written by every user of this machine")
        data = file.read(3 * LARGEST + 1)  # base64 and hexadecimal are longer than what they stand for
    if len(data) > 3 * LARGEST:
        raise ParseError("cache", "file", 0, f"has more than {3 * LARGEST} bytes")
    return data


def check_directory(directory: Path) -> None:
    """Refuse, by UsageError, a cache that every user may write to. FileNotFoundError if it does not exist."""
    mode = directory.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise UsageError(f"the cache {directory} is not a directory; choose another with --cache")
    if mode & stat.S_IWOTH:
        raise UsageError(
            f"every user of this machine may write to the cache {directory}; `chmod o-w` it, or choose another"
        )


def store(directory: Path, found: Iterable[Piece], *, now: datetime, report: Callable[[str], None]) -> list[Path]:
    """Keep pieces; the paths of those that were not there yet. All are written, or an error says which was not."""
    written = []
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_directory(directory)
        for piece in found:
            path = directory / piece.name
            if not _is_there(path, report):
                _write(path, piece.at(piece.source, piece.obtained or now).serialize())
                written.append(path)
    except OSError as error:
        raise UsageError(
            f"cannot write to the cache {directory}: {error.strerror}; choose another with --cache"
        ) from error
    return written


def _is_there(path: Path, report: Callable[[str], None]) -> bool:
    """Whether the cache has this piece, undamaged. The first origin of a piece is kept."""
    try:
        _read(path)
    except FileNotFoundError:
        return False
    except (OSError, ParseError) as error:
        report(f"{plain(str(path))} is written anew: {error}")
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, 0o644)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
