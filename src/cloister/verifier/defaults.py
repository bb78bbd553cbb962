"""The functions for library users: they read the clock, the policy file and the cache, so that callers need not."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cloister.appraise.reference import ReferenceValues
from cloister.endorse import cache
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Allowances
from cloister.verifier.crew import run
from cloister.verifier.many import Answer, Job, Record
from cloister.verifier.policy_files import Policy, load_policy
from cloister.verifier.verdict import Verdict
from cloister.verifier.verifier import NO_POLICY, STRICT, Verifier

__all__ = ["verify", "verify_many"]


def verify(
    evidence: bytes,
    *,
    nonce: bytes | Unchecked,
    policy: str | Path | Policy | Unchecked = NO_POLICY,
    at: datetime | None = None,
    anchors: TrustAnchors | None = None,
    endorsements: Endorsements | None = None,
    allow: Allowances = STRICT,
) -> Verdict:
    """Verify and appraise evidence of any TEE, in any container.

    `evidence`: the bytes as they were received (a quote, report, token, RA-TLS certificate, JSON, hexadecimal...).
    `nonce`: what the attester was asked to include, 1 to 1024 bytes, or `Unchecked(reason)` if it was not asked.
    `policy`: the path of a policy file, or Unchecked(reason); without one the status is at best `warning`.
    `at`: the time of verification, with a time zone; now, if not given.
    `anchors`: whom to believe; the hardware vendors, if not given.
    `endorsements`: collateral; what `cloister collateral` has stored, if not given.

    Returns a Verdict. Raises ParseError (not a known format, or broken), VerificationError (not authentic, not fresh),
    EndorsementUnavailable (undecided: collateral is missing or expired), PolicyError (the policy is wrong), UsageError
    (a file cannot be read, or a time has no zone); TypeError and ValueError for arguments that cannot be meant.
    """
    for name, value in (("evidence", evidence), ("nonce", nonce)):
        if not isinstance(value, bytes | Unchecked):
            raise TypeError(f"{name} is bytes, not {type(value).__name__}: Path(...).read_bytes(), bytes.fromhex(...)")
    verifier = Verifier(anchors=anchors, endorsements=cache.load() if endorsements is None else endorsements)
    time = at or datetime.now(UTC)
    loaded, references = loaded_policy(policy, time)
    challenge = nonce if isinstance(nonce, Unchecked) else Challenge(nonce)
    return verifier.appraise(evidence, at=time, challenge=challenge, policy=loaded, references=references, allow=allow)


def loaded_policy(policy: str | Path | Policy | Unchecked, at: datetime) -> tuple[Policy | Unchecked, ReferenceValues]:
    """A policy with its reference values; those of a policy file are in the files that it names."""
    return load_policy(Path(policy), at) if isinstance(policy, str | Path) else (policy, ReferenceValues())


def verify_many(
    records: Iterable[Record],
    *,
    policy: str | Path | Policy | Unchecked = NO_POLICY,
    at: datetime | None = None,
    anchors: TrustAnchors | None = None,
    endorsements: Endorsements | None = None,
    allow: Allowances = STRICT,
    processes: int | None = None,
) -> Iterator[Answer]:
    """Verify many records on all cores, in order, going on after bad ones.

    Every `Record` has a name, its bytes, and optionally its own nonce and time. Yields an `Answer` per record: as a
    JSON document what `verify` would have returned or raised, and the exit code that `cloister verify` gives it.
    `processes`: how many, all cores if not given. The other arguments are those of `verify`.
    """
    verifier = Verifier(anchors=anchors, endorsements=cache.load() if endorsements is None else endorsements)
    time = at or datetime.now(UTC)
    loaded, references = loaded_policy(policy, time)
    job = Job(verifier=verifier, policy=loaded, references=references, at=time, allow=allow)
    return run(job, records, processes=processes)
