"""The verifier in the service: evidence in, a signed attestation result (EAR) out.

Verification and appraisal are `cloister.verifier`'s. What is added: the attested key, the validity, the signature.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from cloister import __version__
from cloister._x509 import Certificate
from cloister.appraise.policy import HARDWARE_ONLY
from cloister.appraise.reference import ReferenceValues
from cloister.broker.flow import runtime_claims
from cloister.broker.secrets_rule import CPU
from cloister.endorse.anchors import AnchorKind
from cloister.envelope import Envelope
from cloister.errors import BindingInvalid
from cloister.measure.init_data import FIELDS, InitData, as_field
from cloister.model import Challenge, Unchecked
from cloister.result import attestation
from cloister.result.attestation import AttestationResult, Profile, Submodule
from cloister.result.signing import SigningKey
from cloister.result.token import issue_jwt
from cloister.serve.kbs_messages import TEES, Attestation, Piece
from cloister.verification.recipe import Allowances
from cloister.verifier import Verdict, Verifier
from cloister.verifier.policy_files import Policy
from cloister.verifier.verifier import NO_POLICY

__all__ = ["Appraised", "Appraiser", "Appraising"]

IN_CERTIFICATE: Final = Unchecked("evidence in a certificate answers no nonce; its key made the handshake")
INIT_DATA: Final = "init_data_claims"
"""Where Trustee's attestation results have them, beside `runtime_data_claims`."""
IDENTITY: Final = attestation.Verifier(developer="https://cloister.invalid/verifier", build=f"cloister {__version__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """A result and the token that it became."""

    result: AttestationResult
    token: bytes = field(repr=False)


class Appraising(Protocol):
    """What the protocols ask: an `Appraiser`, or one that changes while they go on (reload.py)."""

    @property
    def key(self) -> SigningKey:
        """It signs the results."""

    def of_attestation(self, message: Attestation, nonce: bytes) -> Appraised:
        """The result on a KBS attestation."""

    def of_evidence(self, evidence: bytes, nonce: bytes) -> Appraised:
        """The result on evidence whose report data is the nonce itself."""

    def of_envelope(self, envelope: Envelope, certificate: Certificate) -> tuple[Verdict, Appraised]:
        """The verdict and the result on evidence in a certificate, for the certificate's key."""


@dataclass(frozen=True, kw_only=True)
class Appraiser:
    """Verifies, appraises and signs. May be used from any thread."""

    verifier: Verifier
    key: SigningKey
    clock: Callable[[], datetime]
    policy: Policy | Unchecked = NO_POLICY
    references: ReferenceValues = field(default_factory=ReferenceValues)
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY
    allow: Allowances = field(default_factory=Allowances)
    lifetime: timedelta = timedelta(minutes=5)

    def of_attestation(self, message: Attestation, nonce: bytes) -> Appraised:
        """The result on a KBS attestation: every piece is bound to the key, and is of the TEE that it is said to be.

        Raises ParseError, VerificationError or EndorsementUnavailable, as the verifier does.
        """
        submodules: dict[str, Submodule] = {}
        for piece in message.pieces:
            verdict = self._verdict(piece.evidence, piece.challenge)
            check_tee(piece, verdict)
            if not submodules and message.init_data is not None:
                check_init_data(piece, message.init_data, verdict)
            submodules |= self._submodules(verdict, piece.evidence, len(submodules))
        first = submodules[CPU]
        claims = dict(first.evidence) | runtime_claims(message.nonce, message.recipient)
        if message.init_data is not None:
            claims[INIT_DATA] = dict(message.init_data.entries)
        submodules[CPU] = replace(first, evidence=claims, attested_key=message.recipient.spki)
        return self._signed(submodules, nonce)

    def of_evidence(self, evidence: bytes, nonce: bytes) -> Appraised:
        """The result on evidence whose report data is the nonce itself, as Veraison's API has it."""
        verdict = self._verdict(evidence, Challenge(nonce))
        return self._signed(self._submodules(verdict, evidence, 0), nonce)

    def of_envelope(self, envelope: Envelope, certificate: Certificate) -> tuple[Verdict, Appraised]:
        """The verdict and the result on evidence that a certificate carries; its binding to the key is verified.

        The handshake that showed the certificate is what is fresh; such evidence answers no nonce.
        """
        verdict = self.verifier.appraise_opened(
            envelope, at=self.clock(), challenge=IN_CERTIFICATE, policy=self.policy, references=self.references,
            accept_anchors=self.accept_anchors, allow=self.allow,
        )  # fmt: skip
        submodules = dict(self._submodules(verdict, certificate.encoded, 0))
        submodules[CPU] = replace(submodules[CPU], attested_key=certificate.spki)
        return verdict, self._signed(submodules, b"")

    def _verdict(self, evidence: bytes, challenge: Challenge) -> Verdict:
        return self.verifier.appraise(
            evidence, at=self.clock(), challenge=challenge, policy=self.policy, references=self.references,
            accept_anchors=self.accept_anchors, allow=self.allow,
        )  # fmt: skip

    def _submodules(self, verdict: Verdict, evidence: bytes, start: int) -> Mapping[str, Submodule]:
        """One for each part; the first of all is the CPU."""
        digest = hashlib.sha256(evidence).digest()
        parts = {
            number: Submodule.of(one, evidence_sha256=digest) for number, one in enumerate(verdict.appraisals, start)
        }
        return {f"{one.basis.tee}{number}" if number and one.basis else CPU: one for number, one in parts.items()}

    def _signed(self, submodules: Mapping[str, Submodule], nonce: bytes) -> Appraised:
        now = self.clock()
        result = AttestationResult.of(
            submodules, verifier=IDENTITY, issued_at=now, expires_at=now + self.lifetime, nonce=nonce,
            profile=Profile.TRUSTEE if any(one.attested_key for one in submodules.values()) else Profile.VERAISON,
        )  # fmt: skip
        return Appraised(result=result, token=issue_jwt(result, self.key))


def check_tee(piece: Piece, verdict: Verdict) -> None:
    """BindingInvalid if the evidence is of another TEE than the session was opened for."""
    if verdict.tee not in TEES[piece.tee]:
        raise BindingInvalid("the evidence is of another TEE than was said", expected=piece.tee, actual=verdict.tee)


def check_init_data(piece: Piece, init_data: InitData, verdict: Verdict) -> None:
    """BindingInvalid unless the evidence says that the guest was launched with this init data."""
    claim, size = FIELDS[piece.tee]
    expected, actual = as_field(init_data.digest, size).hex(), verdict.claims.get(claim)
    if actual != expected:
        raise BindingInvalid(f"the guest was launched with other init data: {claim}", expected=expected, actual=actual)
