"""Sessions and attestation results for tests: right ones, with keyword arguments to change one thing at a time."""

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from tests.forge.results import LATER, NONCE, NOW, VERIFIER

from cloister.appraise.vector import EXECUTABLES_APPROVED_BOOT, HARDWARE_GENUINE, Tier, TrustVector
from cloister.broker.release import Accepted, ReleasePolicy
from cloister.broker.session.read import parse_session
from cloister.broker.session.session import Session
from cloister.model import Challenge, Tee, Unchecked
from cloister.result.attestation import AttestationResult, Basis, Submodule
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.result.token import issue_jwt
from cloister.verification.recipe import Tcb

__all__ = [
    "ATTESTED_KEY",
    "CLAIMS",
    "MEASUREMENT",
    "OTHER",
    "SALT",
    "SIGNER",
    "VERIFIER_KEY",
    "accepted",
    "attested",
    "document",
    "public_pem",
    "session",
    "submodule",
    "text",
    "token",
    "trusting",
]

MEASUREMENT: Final = "ab" * 32
OTHER: Final = "cd" * 32
SIGNER: Final = "5a" * 32
SALT: Final = "0123456789abcdef" * 2
VERIFIER_KEY: Final = SigningKey.generate()
ATTESTED_KEY: Final = SigningKey.generate().spki
CLAIMS: Final = {
    "mrenclave": MEASUREMENT, "mrsigner": SIGNER, "isvprodid": 7, "isvsvn": 3, "debug": False, "configid": "00" * 64,
}  # fmt: skip


def document(**changes: Any) -> dict[str, Any]:
    """A session as data: one service `web`, which gets `token` and asks for `pin`."""
    made: dict[str, Any] = {
        "name": "team/app",
        "version": "1",
        "salt": SALT,
        "services": [
            {
                "name": "web",
                "attestation": [{"tee": "sgx", "measurement": MEASUREMENT}],
                "command": ["server", "--token", "$$SCONE::token$$"],
                "environment": {"MODE": "production"},
                "secrets": ["pin"],
            }
        ],
        "secrets": [
            {"name": "token", "kind": "ascii", "generate": {}},
            {"name": "pin", "kind": "ascii", "value": "correct horse"},
            {"name": "unshared", "kind": "binary", "generate": {"size": 32}},
        ],
    }
    return copy.deepcopy(made | changes)


def text(data: Mapping[str, Any]) -> bytes:
    """The data as YAML: JSON is YAML too."""
    return json.dumps(data, ensure_ascii=False, indent=1).encode()


def session(data: Mapping[str, Any] | None = None, **changes: Any) -> Session:
    """The session that `document` describes."""
    return parse_session(text(document(**changes) if data is None else data), "session.yaml")


def public_pem(key: SigningKey) -> str:
    """The public key as a session holds it."""
    body = base64.b64encode(key.spki).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def submodule(**changes: Any) -> Submodule:
    """What a verifier says of the program that `document` lets in."""
    tee = changes.pop("tee", Tee.SGX)
    basis = {
        "tee": tee, "anchor_kind": "hardware", "anchor": "Intel SGX Root CA", "verified_at": NOW,
        "tcb": Tcb(status="UpToDate"),
    } | changes.pop("basis", {})  # fmt: skip
    claims = CLAIMS | changes.pop("claims", {})
    made: dict[str, Any] = {
        "status": Tier.AFFIRMING,
        "vector": TrustVector(hardware=HARDWARE_GENUINE, executables=EXECUTABLES_APPROVED_BOOT),
        "policies": ("sha256:" + "cd" * 32,),
        "evidence": {str(tee): {name: value for name, value in claims.items() if value is not None}},
        "attested_key": ATTESTED_KEY,
        "basis": Basis(**basis),
    }
    return Submodule(**made | changes)


def attested(*, others: Mapping[str, Submodule] | None = None, **changes: Any) -> AttestationResult:
    """An attestation result with that submodule, `cpu0`, and others if given."""
    expires_at, nonce = changes.pop("expires_at", LATER), changes.pop("nonce", NONCE)
    submodules = {"cpu0": submodule(**changes), **(others or {})}
    return AttestationResult.of(submodules, verifier=VERIFIER, issued_at=NOW, expires_at=expires_at, nonce=nonce)


def token(result: AttestationResult, key: SigningKey = VERIFIER_KEY) -> bytes:
    """The result, signed."""
    return issue_jwt(result, key)


def accepted(policy: ReleasePolicy, result: AttestationResult | None = None, **how: Any) -> Accepted:
    """What the policy makes of the result's token."""
    given: dict[str, Any] = {"at": NOW, "nonce": Challenge(NONCE), "max_age": Unchecked("a test")} | how
    return policy.accept(token(attested() if result is None else result), **given)


def trusting(key: SigningKey = VERIFIER_KEY) -> list[VerificationKey]:
    """The keys that a broker trusts."""
    return [VerificationKey(spki=key.spki)]
