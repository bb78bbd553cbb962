"""The Verifier of RFC 9334: bytes in, verdict out. Puts the stages together and keeps what they share.

Pure: time and nonce are arguments, endorsements are handed in. `cloister.verifier.defaults` reads the clock and the
cache for those who do not say.
"""

import functools
import hashlib
from datetime import UTC, datetime
from typing import Any

from cloister.appraise.policy import HARDWARE_ONLY
from cloister.appraise.reference import ReferenceValues
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.envelope import ClaimsBinding, DataBinding, Envelope, open_envelope
from cloister.errors import BindingInvalid, EndorsementUnavailable, ParseError, UsageError, VerificationError
from cloister.evidence.hcl import HclReport
from cloister.evidence.snp import Report
from cloister.evidence.tdx import TdxQuote
from cloister.evidence.tpm import TpmQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification.binding import verify_binding
from cloister.verification.hcl import ANSWERED_BY_QUOTE, verify_bound_quote
from cloister.verification.recipe import Allowances, Check, VerifiedEvidence
from cloister.verifier.appraising import appraise_all
from cloister.verifier.claimed_nonce import ANSWERED_BY_CLAIMS, check_nonce
from cloister.verifier.logs import check_log
from cloister.verifier.policy_files import Policy
from cloister.verifier.rows import ROWS, report_data_of
from cloister.verifier.verdict import Authentic, Verdict

__all__ = ["Verifier"]

NO_NONCE = Unchecked("no nonce was given: this evidence may have been recorded earlier and replayed")
NO_POLICY = Unchecked("no policy was given")
STRICT = Allowances()


class Verifier:
    """Verifies and appraises evidence with fixed trust anchors and endorsements.

    `anchors` are the hardware vendors' unless others are handed over. What is verified once (certificates,
    statements) is remembered, so one Verifier for much evidence is much faster than many.
    """

    def __init__(self, *, anchors: TrustAnchors | None = None, endorsements: Endorsements | None = None) -> None:
        self.anchors = anchors or TrustAnchors.hardware()
        self.endorsements = endorsements or Endorsements()

    def verify(
        self, data: bytes, *, at: datetime, challenge: Challenge | Unchecked = NO_NONCE, allow: Allowances = STRICT
    ) -> list[VerifiedEvidence[Any]]:
        """The verified evidence in `data`, the primary one first. See `authenticate`."""
        return list(self.authenticate(open_envelope(data), at=at, challenge=challenge, allow=allow).parts)

    def authenticate(
        self,
        envelope: Envelope,
        *,
        at: datetime,
        challenge: Challenge | Unchecked = NO_NONCE,
        allow: Allowances = STRICT,
    ) -> Authentic:
        """Verify everything in an envelope: each part, what binds them, and event logs against registers.

        Raises ParseError, VerificationError or EndorsementUnavailable; nothing is returned with them.
        """
        at = in_utc(at)
        given = with_envelope(self.endorsements, envelope) if brings_endorsements(envelope) else self.endorsements
        settings: dict[str, Any] = {"anchors": self.anchors, "endorsements": given, "at": at, "allow": allow}
        parts: list[VerifiedEvidence[Any]] = []
        checks: list[Check] = []
        try:
            _verify_parts(envelope, challenge, settings, parts)
            if not parts:
                raise ParseError(
                    "Envelope", "parts", 0, f"no evidence in it can be verified: {', '.join(envelope.path)}"
                )
            _check_bindings(envelope, parts, challenge, at, checks)
            checks += _check_logs(envelope, parts)
        except (VerificationError, EndorsementUnavailable) as error:
            error.checks = (*(check for part in parts for check in part.checks), *checks, *error.checks)
            raise
        return Authentic(envelope=envelope, parts=tuple(parts), bindings=tuple(checks))

    def appraise(
        self,
        data: bytes,
        *,
        at: datetime,
        challenge: Challenge | Unchecked = NO_NONCE,
        policy: Policy | Unchecked = NO_POLICY,
        references: ReferenceValues | None = None,
        accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY,
        allow: Allowances = STRICT,
    ) -> Verdict:
        """Verify the evidence in `data` and appraise it by the policy. Raises as `authenticate` does.

        Without a policy the status is never affirming: nobody said which program should run. `accept_anchors` is for
        policies in Rego, which do not speak of anchors; ours name the kinds themselves.
        """
        return self.appraise_opened(
            open_envelope(data), at=at, challenge=challenge, policy=policy, references=references,
            accept_anchors=accept_anchors, allow=allow,
        )  # fmt: skip

    def appraise_opened(
        self,
        envelope: Envelope,
        *,
        at: datetime,
        challenge: Challenge | Unchecked = NO_NONCE,
        policy: Policy | Unchecked = NO_POLICY,
        references: ReferenceValues | None = None,
        accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY,
        allow: Allowances = STRICT,
    ) -> Verdict:
        """The same for an envelope that is open already: its `path` says what it was, also when this raises."""
        authentic = self.authenticate(envelope, at=at, challenge=challenge, allow=allow)
        appraisals = appraise_all(authentic, policy, references or ReferenceValues(), accept_anchors=accept_anchors)
        return Verdict(authentic=authentic, appraisals=appraisals)


def in_utc(at: datetime) -> datetime:
    """The time of verification in the zone in which everything is reported; UsageError if it has none."""
    if at.utcoffset() is None:
        raise UsageError("the time of verification needs a time zone: datetime(..., tzinfo=UTC)")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"the time of verification is at the end of all times: {at}") from error


def brings_endorsements(envelope: Envelope) -> bool:
    """Whether certificates, lists or statements came with the evidence."""
    return bool(envelope.certificates or envelope.crls or envelope.intel)


def with_envelope(base: Endorsements, envelope: Envelope) -> Endorsements:
    """What is at hand, with what came along. It is believed no more than the rest: everything ends at an anchor."""
    return _joined(base, envelope.certificates, envelope.crls, envelope.intel)


@functools.lru_cache(maxsize=128)
def _joined(base: Endorsements, certificates: Any, crls: Any, intel: Any) -> Endorsements:  # noqa: ANN401 - tuples
    return base | Endorsements(certificates=certificates, crls=crls, intel=intel)


def _verify_parts(
    envelope: Envelope,
    challenge: Challenge | Unchecked,
    settings: dict[str, Any],
    found: list[VerifiedEvidence[Any]],
) -> None:
    """Every part by its TEE's recipe, into `found`. A virtual TPM's quote answers the challenge for the report."""
    runtime_data, quotes = runtime_data_of(envelope), [one for one in envelope.parts if isinstance(one, TpmQuote)]
    voucher = voucher_of(envelope, runtime_data) if quotes and runtime_data else None
    composite = voucher is not None
    for part in envelope.parts:
        if isinstance(part, HclReport) or (composite and isinstance(part, TpmQuote)):
            continue
        tee = getattr(part, "tee", None)
        if not isinstance(tee, Tee) or tee not in ROWS:
            raise ParseError(type(part).__name__, "tee", 0, "is no evidence about an environment: nothing to verify")
        asked = challenge
        if part is voucher:
            asked = ANSWERED_BY_QUOTE
        elif claims_with_nonce(envelope, part) is not None:
            asked = ANSWERED_BY_CLAIMS
        found.append(ROWS[tee].verify(part, challenge=asked, **settings))
    if composite:
        report = next(one for one in found if one.evidence is voucher)
        found.extend(verify_bound_quote(one, report, runtime_data, challenge=challenge) for one in quotes)


def voucher_of(envelope: Envelope, runtime_data: bytes) -> object | None:
    """The one hardware report that vouches for a virtual TPM: whose report data is the hash of the runtime data.

    Only it needs no nonce, because the TPM's quote has it. Where none is about this runtime data, the first is taken,
    which its verification will refuse.
    """
    hardware = [one for one in envelope.parts if isinstance(one, Report | TdxQuote)]
    expected = hashlib.sha256(runtime_data).digest()
    found = (one for one in hardware if report_data_of(one).startswith(expected))
    return next(found, hardware[0] if hardware else None)


def runtime_data_of(envelope: Envelope) -> bytes:
    """The paravisor's runtime data, which names its virtual TPM's key; empty where there is none."""
    for part in envelope.parts:
        if isinstance(part, HclReport):
            return part.runtime_data
    data = [one.data for one in envelope.bindings if isinstance(one, DataBinding) and one.what == "runtime data"]
    return data[0] if data else b""


def claims_with_nonce(envelope: Envelope, part: object) -> ClaimsBinding | None:
    """The claims beside evidence that answer the challenge in its place: the evidence then carries their hash."""
    for one in envelope.bindings:
        if isinstance(one, ClaimsBinding) and one.nonce is not None and one.evidence == part:
            return one
    return None


def _check_bindings(
    envelope: Envelope,
    parts: list[VerifiedEvidence[Any]],
    challenge: Challenge | Unchecked,
    at: datetime,
    checks: list[Check],
) -> None:
    """What the container says belongs together, checked against the report data of verified evidence only."""
    for binding in envelope.bindings:
        owner = next((one for one in parts if one.evidence == binding.evidence), None)
        if owner is None:
            raise BindingInvalid("the container binds something to evidence that was not verified")
        checks += verify_binding(binding, report_data_of(owner.evidence), at=at)
        if binding is claims_with_nonce(envelope, owner.evidence):
            checks.append(check_nonce(binding.nonce or b"", challenge))


def _check_logs(envelope: Envelope, parts: list[VerifiedEvidence[Any]]) -> list[Check]:
    """Event logs that came along, against the registers of a verified TDX quote."""
    quote = next((one.evidence for one in parts if isinstance(one.evidence, TdxQuote)), None)
    return [check_log(log, quote) for log in envelope.event_logs]
