"""`cloister verify --batch`: JSON lines out, in the order of the input; progress on standard error."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from cloister.cli._batch_records import records_of
from cloister.errors import UsageError
from cloister.model import Challenge, Unchecked
from cloister.verifier.crew import run as answers
from cloister.verifier.many import NO_NONCE, Answer, Job, Record

__all__ = ["WORST_FIRST", "file_name", "run"]

WORST_FIRST = (5, 4, 2, 1, 6, 3, 0)
WORDS = {0: "affirming", 3: "warning", 4: "contraindicated", 5: "not authentic", 6: "undecided", 2: "malformed",
         1: "crashed"}  # fmt: skip
ON_TERMINAL, ELSEWHERE = 0.5, 10.0
"""Seconds between two lines of progress."""


def run(job: Job, source: str, *, nonce: Challenge | Unchecked, processes: int | None) -> int:
    """Verify everything in `source`; the worst exit code. `nonce` is for records that have none of their own."""
    codes: Counter[int] = Counter()
    started = time.monotonic()
    try:
        for answer in reported(answers(job, with_nonce(records_of(source), nonce), processes=processes), codes):
            print(json.dumps({"file": file_name(answer.name)} | answer.document))
    except KeyboardInterrupt:
        print(f"\ninterrupted; {progress(codes, time.monotonic() - started)}", file=sys.stderr)
        raise
    if not codes:
        raise UsageError(f"{source} holds no evidence")
    print(progress(codes, time.monotonic() - started), file=sys.stderr)
    return next(code for code in WORST_FIRST if codes[code])


def reported(found: Iterator[Answer], codes: Counter[int]) -> Iterator[Answer]:
    """The answers as they come, counted, with a line of progress now and then."""
    terminal = sys.stderr.isatty()
    started = shown = time.monotonic()
    for one in found:
        yield one
        codes[one.exit_code] += 1
        now = time.monotonic()
        if now - shown >= (ON_TERMINAL if terminal else ELSEWHERE):
            shown = now
            print(progress(codes, now - started), end="\r" if terminal else "\n", file=sys.stderr)


def with_nonce(records: Iterator[Record], nonce: Challenge | Unchecked) -> Iterator[Record]:
    """The records, with the nonce of the command line where they have none."""
    for one in records:
        yield replace(one, nonce=nonce.nonce) if isinstance(nonce, Challenge) and one.nonce is NO_NONCE else one


def progress(codes: Counter[int], seconds: float) -> str:
    """How many, how fast, with which outcomes."""
    total = codes.total()
    outcomes = ", ".join(f"{codes[code]:,} {word}" for code, word in WORDS.items() if codes[code])
    return f"verified {total:,} in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f}/s): {outcomes}"


def file_name(name: str) -> str:
    """A file name for JSON: bytes in it that are no text become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
