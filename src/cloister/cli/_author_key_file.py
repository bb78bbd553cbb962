"""Key files of enclaves' authors and guests' owners: private ones are their owner's alone."""

import os
import stat
from pathlib import Path
from typing import Final

from cloister.errors import UsageError

__all__ = ["private_pem", "public_pem", "write_new"]

OTHERS: Final = 0o077
LONGEST: Final = 1 << 16


def private_pem(name: str) -> bytes:
    """The content of a private key's file. UsageError if its group or others may do anything with it."""
    try:
        with Path(name).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & OTHERS:
                raise UsageError(
                    f"{name}: others can read or change this private key (mode {mode:04o}); run `chmod 600 {name}`, "
                    "and make a new key if somebody may have read it"
                )
            return file.read(LONGEST)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error


def public_pem(name: str) -> bytes:
    """The content of a public key's file. UsageError."""
    try:
        with Path(name).open("rb") as file:
            return file.read(LONGEST)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error


def write_new(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file, over an existing one only with --force. UsageError."""
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise UsageError(f"{path} exists; give another name, or --force to replace it") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
