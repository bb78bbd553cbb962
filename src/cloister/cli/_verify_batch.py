"""`cloister verify --batch`: a folder, JSON lines or Parquet; JSON lines out, progress on standard error."""

import base64
import binascii
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cloister import _json
from cloister.cli._arguments import read_input
from cloister.envelope import LARGEST
from cloister.errors import CloisterError, ParseError, UsageError
from cloister.verifier.many import NO_NONCE, Job, Record
from cloister.verifier.many import run as answers

__all__ = ["run"]

WORST_FIRST = (5, 4, 2, 6, 3, 0)
EVERY = 0.5
"""Seconds between two lines of progress."""


def run(job: Job, source: str, *, processes: int | None) -> int:
    """Verify everything in `source`; the worst exit code."""
    codes: Counter[int] = Counter()
    started = shown = time.monotonic()
    for answer in answers(job, records_of(source), processes=processes):
        print(json.dumps({"file": answer.name} | answer.document))
        codes[answer.exit_code] += 1
        now = time.monotonic()
        if now - shown >= EVERY:
            shown = now
            progress(codes, now - started, end="\r" if sys.stderr.isatty() else "\n")
    progress(codes, time.monotonic() - started, end="\n")
    if not codes:
        raise UsageError(f"{source} holds no evidence")
    return next(code for code in WORST_FIRST if codes[code])


def progress(codes: Counter[int], seconds: float, *, end: str) -> None:
    """How many, how fast, with which outcomes."""
    total = codes.total()
    words = {0: "affirming", 3: "warning", 4: "contraindicated", 5: "not authentic", 6: "undecided", 2: "malformed"}
    outcomes = ", ".join(f"{codes[code]:,} {word}" for code, word in words.items() if codes[code])
    print(
        f"verified {total:,} in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f}/s): {outcomes}",
        end=end,
        file=sys.stderr,
    )


def records_of(source: str) -> Iterator[Record]:
    """The records of a folder, a file of JSON lines, or a Parquet file."""
    path = Path(source)
    if path.is_dir():
        return of_folder(path)
    if path.suffix == ".parquet":
        return of_rows(of_parquet(path), path.name)
    if path.suffix in {".jsonl", ".ndjson"}:
        return of_rows(of_json_lines(path), path.name)
    raise UsageError(f"{source} is no folder, and its name ends neither in .jsonl nor in .parquet")


def of_folder(path: Path) -> Iterator[Record]:
    """Every regular file below a folder, by name."""
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        name = str(file.relative_to(path))
        try:
            yield Record(name=name, evidence=read_input(str(file), LARGEST))
        except CloisterError as error:
            yield Record(name=name, evidence=b"", unreadable=str(error))


def of_json_lines(path: Path) -> Iterator[object]:
    """One JSON object a line."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(2 * LARGEST), b""), 1):
            if line.strip():
                try:
                    yield _json.loads(line, f"line {number}")
                except ParseError as error:
                    yield {"name": f"line {number}", "unreadable": str(error)}


def of_parquet(path: Path) -> Iterator[object]:
    """The rows of a Parquet file, a batch at a time."""
    try:
        import pyarrow.parquet  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise UsageError("reading Parquet needs pyarrow: pip install 'cloister[parquet]'") from error
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def of_rows(rows: Iterable[object], source: str) -> Iterator[Record]:
    """Records from objects with `evidence`, and perhaps `name`, `nonce`, `at`."""
    for number, row in enumerate(rows, 1):
        name = f"{source}:{number}"
        try:
            yield of_row(row, name)
        except (ValueError, CloisterError, binascii.Error) as error:
            yield Record(name=name, evidence=b"", unreadable=str(error))


def of_row(row: object, name: str) -> Record:
    """One record. `evidence` is bytes, or text: base64, hexadecimal, JSON; what it is, the verifier finds out."""
    if not isinstance(row, dict):
        raise UsageError("is no object; give one with the member evidence")
    given: dict[str, Any] = row
    evidence = given.get("evidence", b"")
    if isinstance(evidence, dict):
        evidence = json.dumps(evidence)
    at = given.get("at")
    return Record(
        name=str(given.get("name", name)),
        evidence=evidence if isinstance(evidence, bytes) else str(evidence).encode(),
        nonce=octets(given["nonce"]) if given.get("nonce") else NO_NONCE,
        at=datetime.fromisoformat(at) if isinstance(at, str) else at,
        unreadable=str(given.get("unreadable", "")),
    )


def octets(value: object) -> bytes:
    """A nonce: bytes, hexadecimal, or base64."""
    if isinstance(value, bytes):
        return value
    text = str(value)
    try:
        return bytes.fromhex(text)
    except ValueError:
        return base64.b64decode(text, validate=True)
