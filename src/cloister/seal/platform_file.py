"""A platform key in a file: random, made on first use, for its owner only.

It protects as far as the file's access rights go. Whoever can read it (root, a backup, the next owner of the disk) can
unseal everything that was sealed under it, for any identity.
"""

import os
import secrets
from pathlib import Path
from typing import Final, Self

from cloister._private_file import read_private
from cloister._wire import Record, raw, reserved, u32
from cloister.errors import ParseError, UsageError
from cloister.seal.fresh_file import is_there, make_once
from cloister.seal.keys import KEY_SIZE, Binding, expand
from cloister.seal.wiping import wipe, wiped

__all__ = ["FilePlatformKey", "default_key_path"]

MAGIC: Final = b"CLOIPKEY"


class KeyFileStart(Record, size=16):
    """What a key file begins with; 32 bytes of key follow."""

    magic: bytes = raw(8, equals=MAGIC)
    version: int = u32(equals=1)
    reserved_12: bytes = reserved(4)


FILE_SIZE: Final = KeyFileStart.SIZE + KEY_SIZE


def default_key_path() -> Path:
    """Where the platform key is if nothing else is said: $XDG_DATA_HOME/cloister/platform.key."""
    home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share"
    return base / "cloister" / "platform.key"


class FilePlatformKey:
    """The key in a file. A context manager that wipes it from memory at the end."""

    binds_identity = False

    def __init__(self, path: Path, *, make: bool = True) -> None:
        """Read the key, or make it if there is none and `make` says so. UsageError."""
        self.path = path
        if make and not is_there(path):
            _make(path)
        self._key = _read(path)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the platform key in {self.path}"

    def derive(self, info: bytes, binding: Binding) -> bytearray:
        """HKDF-Expand under the key. UsageError after `close`."""
        del binding
        if not any(self._key):
            raise UsageError(f"{self.name} was closed")
        return expand(self._key, info)

    def close(self) -> None:
        """Wipe the key. May be repeated."""
        wipe(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _make(path: Path) -> None:
    """Of two processes that make it at once, one wins, and both go on with its key."""
    content = bytearray(KeyFileStart(magic=MAGIC, version=1).serialize() + secrets.token_bytes(KEY_SIZE))
    with wiped(content):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {path.parent}: {error.strerror}") from error
        make_once(path, content)


def _read(path: Path) -> bytearray:
    content = bytearray(FILE_SIZE + 1)
    with wiped(content):
        size = read_private(path, content, what="the platform key", harm="a key that others know seals nothing")
        try:
            KeyFileStart.parse(bytes(content[: KeyFileStart.SIZE]))
        except ParseError as error:
            raise UsageError(f"{path} is no platform key: {error}") from error
        key = content[KeyFileStart.SIZE : FILE_SIZE]
        if size != FILE_SIZE or not any(key):
            raise UsageError(f"{path} is no platform key: {size} bytes, or only zeros; {FILE_SIZE} are expected")
        return key
