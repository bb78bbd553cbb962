"""Attestation results for tests: one that is right, with keyword arguments to change one thing at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloister.appraise.appraisal import Appraisal
from cloister.appraise.vector import EXECUTABLES_APPROVED_BOOT, HARDWARE_GENUINE, Tier, TrustVector
from cloister.model import Tee
from cloister.result.attestation import AttestationResult, Profile, Submodule, Verifier
from cloister.verification.recipe import Tcb

__all__ = ["LATER", "NONCE", "NOW", "VERIFIER", "appraisal", "result"]

NOW: Final = datetime(2026, 3, 15, 12, 0, 0, tzinfo=UTC)
LATER: Final = NOW + timedelta(minutes=5)
NONCE: Final = bytes(range(32))
VERIFIER: Final = Verifier(developer="https://verifier.example", build="verifier 1.2.3")


def appraisal(**changes: Any) -> Appraisal:
    """An affirming appraisal of SGX evidence."""
    made = Appraisal(
        tee=Tee.SGX,
        status=Tier.AFFIRMING,
        vector=TrustVector(hardware=HARDWARE_GENUINE, executables=EXECUTABLES_APPROVED_BOOT),
        tcb=Tcb(status="UpToDate", advisories=("INTEL-SA-00001",), date=NOW - timedelta(days=30)),
        claims={"mrenclave": "ab" * 32, "isv_svn": 3, "debug": False, "key_ids": ["aa", ["bb"]]},
        explanations=(),
        unchecked=("the nonce is the report data: no nonce was sent",),
        policy_id="sha256:" + "cd" * 32,
        at=NOW,
        anchor_kind="hardware",
        anchor="Intel SGX Root CA",
    )
    return replace(made, **changes)


def result(
    *, profile: Profile = Profile.VERAISON, appraised: Appraisal | None = None, **changes: Any
) -> AttestationResult:
    """A result with one submodule, `cpu0`, issued NOW, good until LATER, answering NONCE."""
    made = AttestationResult.of(
        {"cpu0": Submodule.of(appraisal() if appraised is None else appraised, evidence_sha256=bytes(32))},
        verifier=VERIFIER, issued_at=NOW, expires_at=LATER, nonce=NONCE, profile=profile,
    )  # fmt: skip
    return replace(made, **changes)
