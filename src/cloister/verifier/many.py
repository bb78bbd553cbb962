"""Many records on all cores: processes, because signature checks scale with them and hardly with threads."""

import itertools
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloister.appraise.policy import HARDWARE_ONLY
from cloister.appraise.reference import ReferenceValues
from cloister.endorse.anchors import AnchorKind
from cloister.errors import CloisterError, UsageError
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Allowances
from cloister.verifier.documents import failure_document, verdict_document
from cloister.verifier.policy_files import Policy
from cloister.verifier.verifier import Verifier

__all__ = ["Answer", "Job", "Record", "run"]

CHUNK: Final = 64
"""Records that travel to a process together: enough to hide the cost of sending, few enough to see progress."""

AHEAD: Final = 4
"""Chunks per process that are under way at once, so that a long input is never held in memory whole."""

NO_NONCE: Final = Unchecked("no nonce was given with this record: it may have been recorded earlier and replayed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One piece of evidence with a name; `nonce` and `at` where it has its own."""

    name: str
    evidence: bytes
    nonce: bytes | Unchecked = NO_NONCE
    at: datetime | None = None
    unreadable: str = ""
    """Why there is no evidence, where a source could not be read: it becomes this record's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a record: the document that `cloister verify --json` prints, a verdict's or a failure's.

    `exit_code` is what `cloister verify` would have exited with for this record alone.
    """

    name: str
    document: dict[str, Any]
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all records have in common."""

    verifier: Verifier
    policy: Policy | Unchecked
    references: ReferenceValues | None
    at: datetime
    allow: Allowances
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY
    """For policies in Rego, which do not speak of anchors."""


EXIT_CODES: Final = {"affirming": 0, "none": 3, "warning": 3, "contraindicated": 4}


def answer(job: Job, record: Record) -> Answer:
    """Verify one record; never raises what Cloister raises."""
    if record.unreadable:
        return Answer(name=record.name, document=failure_document(UsageError(record.unreadable)), exit_code=2)
    try:
        verdict = job.verifier.appraise(
            record.evidence, at=record.at or job.at, policy=job.policy, references=job.references, allow=job.allow,
            accept_anchors=job.accept_anchors,
            challenge=record.nonce if isinstance(record.nonce, Unchecked) else Challenge(record.nonce),
        )  # fmt: skip
    except CloisterError as error:
        return Answer(name=record.name, document=failure_document(error), exit_code=error.exit_code)
    return Answer(name=record.name, document=verdict_document(verdict), exit_code=EXIT_CODES[str(verdict.status)])


_job: Job | None = None


def _prepare(job: Job) -> None:
    """Give a worker process what all records have in common."""
    global _job  # noqa: PLW0603 - one per worker process, set before its first chunk
    _job = job


def _answers(records: list[Record]) -> list[Answer]:
    assert _job is not None  # noqa: S101 - the pool's initializer ran
    return [answer(_job, record) for record in records]


def chunked(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The records in lists of at most CHUNK."""
    source = iter(records)
    while chunk := list(itertools.islice(source, CHUNK)):
        yield chunk


def run(job: Job, records: Iterable[Record], *, processes: int | None = None) -> Iterator[Answer]:
    """Answers in the order of the records. One process does without a pool."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        yield from (answer(job, record) for record in records)
        return
    context = multiprocessing.get_context("spawn")  # a fork would take the caller's threads' locks along
    with ProcessPoolExecutor(count, mp_context=context, initializer=_prepare, initargs=(job,)) as pool:
        waiting: list[Future[list[Answer]]] = []
        for chunk in chunked(records):
            waiting.append(pool.submit(_answers, chunk))
            if len(waiting) >= AHEAD * count:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()
