"""Many records, one answer each: what a record is, what an answer is, and how one becomes the other."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloister.appraise.policy import HARDWARE_ONLY
from cloister.appraise.reference import ReferenceValues
from cloister.endorse.anchors import AnchorKind
from cloister.envelope import Envelope, open_envelope
from cloister.errors import CloisterError, UsageError
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Allowances
from cloister.verifier.documents import crash_document, failure_document, verdict_document
from cloister.verifier.policy_files import Policy
from cloister.verifier.verifier import Verifier

__all__ = ["EXIT_CODES", "NO_NONCE", "Answer", "Job", "Record", "answer", "crashed"]

NO_NONCE: Final = Unchecked("no nonce was given with this record: it may have been recorded earlier and replayed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One piece of evidence with a name; `nonce` and `at` (with a time zone) where it has its own."""

    name: str
    evidence: bytes
    nonce: bytes | Unchecked = NO_NONCE
    at: datetime | None = None
    unreadable: str = ""
    """Why there is no evidence, where a source could not be read: it becomes this record's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a record: the document that `cloister verify --json` prints, a verdict's or a failure's.

    `exit_code` is what `cloister verify` would have exited with for this record alone; 1 if Cloister failed.
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
    """Verify one record; raises nothing: one record must not end the others' verification."""
    if record.unreadable:
        return Answer(name=record.name, document=failure_document(UsageError(record.unreadable)), exit_code=2)
    envelope = Envelope()
    try:
        challenge = challenge_of(record)
        envelope = open_envelope(record.evidence)
        verdict = job.verifier.appraise_opened(
            envelope, at=record.at or job.at, challenge=challenge, policy=job.policy, references=job.references,
            allow=job.allow, accept_anchors=job.accept_anchors,
        )  # fmt: skip
    except CloisterError as error:
        document = failure_document(error, container=envelope.path)
        return Answer(name=record.name, document=document, exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001 - a bug that one record meets is that record's answer, and no approval
        return crashed(record, f"a bug in Cloister, please report it: {type(error).__name__}: {error}")
    return Answer(name=record.name, document=verdict_document(verdict), exit_code=EXIT_CODES[str(verdict.status)])


def challenge_of(record: Record) -> Challenge | Unchecked:
    """What the record's evidence must answer; UsageError if that is no nonce."""
    try:
        return record.nonce if isinstance(record.nonce, Unchecked) else Challenge(record.nonce)
    except ValueError as error:
        raise UsageError(f"nonce: {error}") from error


def crashed(record: Record, reason: str) -> Answer:
    """The answer about a record that could not be verified because Cloister failed, not the evidence."""
    return Answer(name=record.name, document=crash_document(reason), exit_code=CloisterError.exit_code)
