"""What `cloister verify --batch` reads: a folder, JSON lines or Parquet, one record at a time.

Whatever cannot be read becomes a record that says so: nothing is left out in silence, and nothing ends the rest.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cloister import _json
from cloister.cli._arguments import read_input, time_of
from cloister.envelope import LARGEST
from cloister.errors import CloisterError, ParseError, UsageError
from cloister.verifier.many import NO_NONCE, Record

__all__ = ["records_of"]

LONGEST_LINE = 32 << 20
"""Bytes. Evidence in hexadecimal digits is twice as long."""

MEMBERS = ("name", "evidence", "nonce", "at")
ROWS = 64
"""Rows of a Parquet file that are read together."""


def records_of(source: str) -> Iterator[Record]:
    """The records of a folder, a file of JSON lines, or a Parquet file; UsageError if it is none of them."""
    path = Path(source)
    if path.is_dir():
        return of_folder(path)
    if path.suffix == ".parquet":
        return of_parquet(path)
    if path.suffix in {".jsonl", ".ndjson"}:
        return of_json_lines(path)
    if not path.exists():
        raise UsageError(f"--batch {source}: no such file or folder")
    raise UsageError(f"--batch {source} is no folder, and its name ends neither in .jsonl nor in .parquet")


def of_folder(folder: Path) -> Iterator[Record]:
    """Every regular file below a folder; names in order, those of a folder before those of the folders in it."""
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders.sort()
        for file in sorted(files):
            path = Path(place, file)
            if path.is_file():  # not a pipe, on which reading would wait for ever
                yield of_file(path, str(path.relative_to(folder)))
    for error in closed:
        yield unreadable(str(error.filename), f"cannot read this folder: {error.strerror}")


def of_file(path: Path, name: str) -> Record:
    """A file of the folder."""
    try:
        return Record(name=name, evidence=read_input(str(path), LARGEST))
    except CloisterError as error:
        return unreadable(name, str(error))


def of_json_lines(path: Path) -> Iterator[Record]:
    """One JSON object a line; empty lines count, but are no records."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(lines_of(file), 1):
                if line.strip():
                    yield of_line(line, f"{path.name}:{number}")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file. Of one that is too long, only so much is kept that this is noticed."""
    while line := file.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
        yield line


def of_line(line: bytes, name: str) -> Record:
    """The record in one line."""
    if len(line) >= LONGEST_LINE:
        return unreadable(name, f"a line of {LONGEST_LINE:,} bytes or more")
    try:
        return of_row(_json.loads(line, "line"), name)
    except ParseError as error:
        return unreadable(name, str(error))


def of_parquet(path: Path) -> Iterator[Record]:
    """The rows of a Parquet file, some at a time, and of its columns only those that matter."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise UsageError("reading Parquet needs pyarrow: pip install 'cloister[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            columns = [one for one in MEMBERS if one in file.schema_arrow.names]
            if "evidence" not in columns:
                raise UsageError(f"{path} has no column evidence; it has {', '.join(file.schema_arrow.names)}")
            rows = (row for batch in file.iter_batches(ROWS, columns=columns) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield of_row(row, f"{path.name}:{number}")
    except (ArrowException, OSError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def of_row(row: object, name: str) -> Record:
    """One record, from an object with `evidence`, and perhaps `name`, `nonce`, `at`; other members are ignored."""
    if not isinstance(row, dict):
        return unreadable(name, "is no JSON object; give one with the member evidence")
    own = row.get("name")
    known = str(own) if own is not None else name
    try:
        return Record(name=known, evidence=evidence_of(row), nonce=nonce_of(row.get("nonce")), at=at_of(row.get("at")))
    except CloisterError as error:
        return unreadable(known, str(error))


def unreadable(name: str, why: str) -> Record:
    """A record that is not there."""
    return Record(name=name, evidence=b"", unreadable=why)


def evidence_of(row: Mapping[str, Any]) -> bytes:
    """Bytes, text (base64, hexadecimal, PEM, JSON: what it is, the verifier finds out) or a JSON object."""
    value = row.get("evidence")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict):
        return json.dumps(value).encode()
    raise UsageError("evidence: is missing" if value is None else f"evidence: is a {type(value).__name__}, not text")


def nonce_of(value: object) -> bytes | Any:  # noqa: ANN401 - or Unchecked
    """A nonce: bytes, or hexadecimal digits as for --nonce. Without one, nothing is asked."""
    if value is None:
        return NO_NONCE
    try:
        return value if isinstance(value, bytes) else bytes.fromhex(str(value))
    except ValueError as error:
        raise UsageError(f"nonce: takes two hexadecimal digits per byte: {error}") from error


def at_of(value: object) -> datetime | None:
    """A time: ISO 8601 or seconds since 1970, as for --at; UTC if it has no zone."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return time_of(str(value))
