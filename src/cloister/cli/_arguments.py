"""Words on the command line that several commands understand in the same way: nonces, times, files."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from cloister.errors import UsageError
from cloister.model import Challenge

__all__ = ["broker_key", "nonce_of", "read_input", "time_of"]

KEY = re.compile("[0-9a-fA-F]{64}")


def nonce_of(text: str) -> Challenge:
    """The nonce that --nonce gives, in hexadecimal."""
    try:
        nonce = bytes.fromhex(text)
    except ValueError as error:
        raise UsageError("--nonce takes hexadecimal digits, two for each byte, and nothing before them") from error
    try:
        return Challenge(nonce)
    except ValueError as error:
        raise UsageError(f"--nonce: {error}") from error


def time_of(text: str | None, option: str = "--at") -> datetime:
    """The time that `option` gives: ISO 8601, UTC if it has no zone; or seconds since 1970. Now, if none is given."""
    if text is None:
        return datetime.now(UTC)
    if text.isdecimal() and len(text) == len("20260131"):
        raise UsageError(
            f"{option} {text}: a date is written {text[:4]}-{text[4:6]}-{text[6:]}; it is few seconds since 1970"
        )
    try:
        if text.isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        given = datetime.fromisoformat(text)
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{option} takes a time like 2026-01-31T12:00:00Z, or seconds since 1970: {error}") from error


def read_input(name: str, longest: int) -> bytes:
    """The content of a file, or of standard input for `-`; UsageError if it cannot be read or is too long."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(longest + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(longest + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {name}: {reason}") from error
    if len(data) > longest:
        raise UsageError(f"{name} is longer than {longest:,} bytes, so it is not what it should be")
    return data


def broker_key(given: str) -> bytes:
    """The key that is given, or stands in the file that is; nothing if none is. UsageError."""
    if not given:
        return b""
    try:
        text = given if KEY.fullmatch(given) else Path(given).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not KEY.fullmatch(text):
        raise UsageError(
            f"--broker-key {given}: neither 64 hexadecimal digits nor a file of them, such as STATE/broker-key"
        )
    return bytes.fromhex(text)
