"""New files for keys: a file is complete when it has its name, and only its owner can read it."""

import os
from pathlib import Path

__all__ = ["write_key_file"]


def write_key_file(path: Path, data: bytes) -> None:
    """Write and sync; a stop leaves all of it or none. FileExistsError if there is one already; OSError."""
    unfinished = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        unfinished.unlink()
