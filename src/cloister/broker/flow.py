"""The release: from an attestation result to a secret, the same for background check and passport.

    token ──▶ verified ──▶ the attested key ──▶ the secret's rule ──▶ encrypted ──▶ audit entry on the disk ──▶ out
              401          401                  403 (404: no such)                  503

In the background check the token is the one that the verifier beside this broker made for the session; as a passport
the attester brings it. The broker looks at nothing but the token, so the two cannot differ.
"""

import copy
import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.broker.audit.events import (
    Event,
    Evidence,
    Released,
    ReleaseDenied,
    ReleaseUnattested,
    ReleaseUndecided,
    SecretName,
    SessionName,
)
from cloister.broker.known_results import KnownResults
from cloister.broker.provision_forms import FORMS, JSON
from cloister.broker.recipient import Recipient
from cloister.broker.release import ReleasePolicy
from cloister.broker.root_told import SessionRoots
from cloister.broker.secrets_rule import CPU, MEASUREMENT_CLAIM, measurement_of
from cloister.broker.secrets_vault import UnknownSecret, Vault
from cloister.broker.session.language import NAME, SESSION_NAME
from cloister.broker.session.provision import provision
from cloister.broker.session.session import Service, Session
from cloister.broker.store import Sealed
from cloister.broker.store_roots import RootTable
from cloister.broker.store_sessions import SessionShelf
from cloister.errors import (
    CloisterError,
    Denied,
    EndorsementUnavailable,
    NotAttested,
    ParseError,
    PolicyError,
    Undecided,
    VerificationError,
)
from cloister.model import Digest, Measurement, MeasurementKind, Unchecked
from cloister.result.attestation import AttestationResult, Json, Submodule
from cloister.result.keys import VerificationKey
from cloister.result.verify import check_times, verify_result

__all__ = ["Allowance", "AuditTrail", "Broker", "Handed", "Release", "attested_key", "runtime_claims"]

Out = TypeVar("Out")
RUNTIME_CLAIMS: Final = "runtime_data_claims"
TEE_KEY: Final = "tee-pubkey"
"""Where a verifier that speaks for the KBS protocol puts the attested key, among the first submodule's evidence."""
NO_RULE: Final = Unchecked("the request ended before a release rule was chosen")
VERIFIERS_NONCE: Final = Unchecked("the nonce was the verifier's")
NO_RESULT: Final = Unchecked("no valid attestation result was shown")
SESSION, SERVICE = re.compile(SESSION_NAME), re.compile(NAME)
ONLY: Final = "-"
"""For whoever does not know what the session calls its one service. No service has this name."""
LONGEST_NAME: Final = 256
MOST_IN_ENTRY: Final = 64
"""Secrets that one entry of the audit log names."""
TEXTS_ONLY: Final = "(none: the service's texts only)"
HASHES: Final = {32: "sha256", 48: "sha384", 64: "sha512"}


class AuditTrail(Protocol):
    """Where it is written who got what (`cloister.broker.audit.AuditLog`)."""

    def append(self, event: Event, /) -> object:
        """Durable when it returns, or before anybody learns what the broker answered; raises Undecided if it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is on its way out: a JWE to the attested key. `version` counts those of the name."""

    name: str
    version: int
    jwe: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What is handed over in the clear, for a channel that ends at the attested key. The caller wipes it."""

    name: str
    version: int
    secret: bytearray = field(repr=False)


class Broker:
    """Releases secrets to attested keys. `keys` are those of the verifiers that it believes.

    `sealing` is its own: whom an enclave's manifest may name, so that it takes secrets from nobody else.
    """

    def __init__(
        self, *, vault: Vault, shelf: SessionShelf, roots: RootTable, audit: AuditTrail,
        keys: tuple[VerificationKey, ...], sealing: X25519PrivateKey, clock: Callable[[], datetime], max_age: timedelta,
    ) -> None:  # fmt: skip
        self._sealing = sealing
        self._vault, self._shelf, self._audit, self._keys = vault, shelf, audit, keys
        self._roots = roots
        self._clock, self._max_age = clock, max_age
        self._strangers, self._known = Allowance(clock), KnownResults()

    def recording_in(self, audit: AuditTrail) -> "Broker":
        """The same broker, with another way to the log. Its maker waits for the disk before the answer goes out."""
        made = copy.copy(self)
        made._audit = audit  # noqa: SLF001 - its own
        return made

    def release(self, *, request: str, token: bytes, name: str) -> Release:
        """The newest version of a secret, encrypted to the key that the token's evidence is bound to.

        Whatever comes of it is in the audit log first. Raises NotAttested (401), Denied (403), UnknownSecret (404),
        Undecided (503), ParseError (400: the name).
        """
        return self._recorded(Case(request=request, asked=(name,), token=token), lambda case: self._secret(case, name))

    def hand_over(self, *, request: str, token: bytes, name: str) -> Handed:
        """The newest version of a secret, not encrypted: for a channel whose other end has proved the attested key.

        That is the caller's to see to: a TLS handshake with a certificate of this key. Raises as `release`.
        """
        return self._recorded(Case(request=request, asked=(name,), token=token), lambda case: self._plain(case, name))

    def provision(self, *, request: str, token: bytes, session: str, service: str, form: str = JSON) -> Release:
        """All that a service of a session gets, in one of the forms of `provision_forms`. Raises as `release`.

        The service `-` is the session's only one.
        """
        for what, pattern, name in (("session", SESSION, session), ("service", SERVICE, service)):
            if len(name) > LONGEST_NAME or not (pattern.fullmatch(name) or (what, name) == ("service", ONLY)):
                raise ParseError(what, "name", 0, "is not the name of one")
        if form not in FORMS:
            raise ParseError("format", "name", 0, f"is none of {', '.join(FORMS)}")
        case = Case(request=request, asked=(service,), token=token)
        return self._recorded(case, lambda case: self._service(case, session, service, form))

    def _recorded(self, case: "Case", work: Callable[["Case"], Out]) -> Out:
        try:
            return work(case)
        except ParseError:
            raise
        except CloisterError as error:
            if not isinstance(error, NotAttested) or self._strangers.take():
                self._audit.append(case.refused(error))
            raise

    def _secret(self, case: "Case", name: str) -> Release:
        case.result = self._verified(case.token)
        recipient = attested_key(case.result)
        one = self._allowed(case, name)
        value = self._vault.open(one)
        try:
            jwe = recipient.encrypt(value.reveal())
        finally:
            value.wipe()
        self._audit.append(case.released(recipient.spki, (SecretName(name=name, version=one.version),)))
        return Release(name=name, version=one.version, jwe=jwe)

    def _plain(self, case: "Case", name: str) -> Handed:
        case.result = self._verified(case.token)
        cpu = case.result.submodules.get(CPU)
        if cpu is None or not cpu.attested_key:
            raise NotAttested("the attestation result vouches for no key")
        one = self._allowed(case, name)
        value = self._vault.open(one)
        try:
            secret = bytearray(value.reveal())
        finally:
            value.wipe()
        self._audit.append(case.released(cpu.attested_key, (SecretName(name=name, version=one.version),)))
        return Handed(name=name, version=one.version, secret=secret)

    def _allowed(self, case: "Case", name: str) -> Sealed:
        """The newest version, if its rule allows this result. UnknownSecret, Denied."""
        if case.result is None:
            raise Undecided("a release without a result")
        one = self._vault.current(name)
        rule = self._vault.rule_of(one)
        case.session = SessionName(name=f"release rule of {name}", version=str(one.version), sha256=rule.sha256)
        rule.check(case.result)
        return one

    def _service(self, case: "Case", name: str, service: str, form: str) -> Release:
        case.result = self._verified(case.token)  # before anything is looked up: strangers learn no names
        held = self._shelf.current(name)
        case.session = SessionName(name=name, version=held.session.version, sha256=bytes.fromhex(held.sha256))
        policy, now = ReleasePolicy(held.session, self._keys), self._clock()
        try:
            accepted = policy.accept(case.token, at=now, nonce=VERIFIERS_NONCE, max_age=self._max_age)
        except ParseError as error:
            raise NotAttested("the token is no attestation result") from error
        recipient, one = attested_key(accepted.result), _named(held.session, service)
        service = service if one is None else one.name
        secrets = () if one is None else held.session.secrets_of(one)
        decision = policy.release(accepted, secrets, at=now, service=service)
        if one is None or decision.recipient != recipient.spki:
            raise NotAttested("the attestation result vouches for another key than it names")
        try:
            roots = SessionRoots(self._roots, held.session.name)
            text = FORMS[form](provision(held.session, one, self._shelf.values_for(held, one), roots))
        except PolicyError as error:
            raise Denied(str(error), set_by=held.session.file) from error
        jwe = recipient.encrypt(text) if form == JSON else recipient.encrypt_from(self._sealing, text)
        for first in range(0, max(len(secrets), 1), MOST_IN_ENTRY):
            some = secrets[first : first + MOST_IN_ENTRY] or (TEXTS_ONLY,)
            named = tuple(SecretName(name=secret, version=held.number) for secret in some)
            self._audit.append(case.released(recipient.spki, named))
        return Release(name=f"{name}: {service}", version=held.number, jwe=jwe)

    def remember(self, token: bytes, result: AttestationResult) -> None:
        """A token that the verifier beside this broker has just made, and what it says: read and verified already."""
        self._known.add(token, result)

    def _verified(self, token: bytes) -> AttestationResult:
        known, now = self._known.find(token), self._clock()
        try:
            if known is not None:
                check_times(known, now, self._max_age)
                return known
            return verify_result(token, self._keys, at=now, nonce=VERIFIERS_NONCE, max_age=self._max_age)
        except (ParseError, VerificationError) as error:
            raise NotAttested("the token is not an attestation result of a verifier that is trusted here") from error
        except EndorsementUnavailable as error:  # expired, or not valid yet: a new attestation decides
            raise NotAttested("the attestation result is not valid now; attest again") from error


def _named(session: Session, service: str) -> Service | None:
    """The service that is asked for; for `-` the only one, Denied if there are several."""
    if service != ONLY:
        return session.service(service)
    if len(session.services) > 1:
        raise Denied("this session has several services; ask for one by its name", set_by=session.file)
    return next(iter(session.services), None)


class Allowance:
    """How many entries of the audit log strangers may cause: whoever has no valid result must not fill the disk.

    Beyond it, requests are refused all the same, and are in the server's log and counters.
    """

    def __init__(self, clock: Callable[[], datetime], most: int = 60, period: timedelta = timedelta(minutes=1)) -> None:
        self._clock, self._most, self._period = clock, most, period
        self._since, self._taken, self._turn = clock(), 0, threading.Lock()

    def take(self) -> bool:
        """Whether there is one left in this period."""
        with self._turn:
            now = self._clock()
            if now - self._since >= self._period or now < self._since:
                self._since, self._taken = now, 0
            self._taken += 1
            return self._taken <= self._most


def attested_key(result: AttestationResult) -> Recipient:
    """The key in the first submodule, which its evidence was bound to; NotAttested if there is none."""
    one = result.submodules.get(CPU)
    claims = {} if one is None else one.evidence.get(RUNTIME_CLAIMS)
    try:
        recipient = Recipient.of_jwk(claims.get(TEE_KEY) if isinstance(claims, dict) else None)
    except ParseError as error:
        raise NotAttested("the attestation result vouches for no key that secrets could be encrypted to") from error
    if one is None or one.attested_key != recipient.spki:
        raise NotAttested("the attestation result vouches for another key than it names")
    return recipient


@dataclass(slots=True, kw_only=True)
class Case:
    """One request, and how far it came: what the audit log says of it."""

    request: str
    asked: tuple[str, ...]
    token: bytes
    result: AttestationResult | None = None
    session: SessionName | Unchecked = NO_RULE

    def released(self, spki: bytes, secrets: tuple[SecretName, ...]) -> Released:
        """The entry that stands on the disk before the secret leaves."""
        if self.result is None or isinstance(self.session, Unchecked):
            raise Undecided("a release without a result and a rule")
        return Released(
            request=self.request, session=self.session, evidence=_evidence(self.result), secrets=secrets,
            result=hashlib.sha256(self.token).digest(), recipient=hashlib.sha256(spki).digest(),
        )  # fmt: skip

    def refused(self, error: CloisterError) -> Event:
        """The entry of a request that got nothing."""
        kind, code = _kind(error)
        return kind(
            request=self.request, secrets=self.asked, code=code, reason=_reason(error), session=self.session,
            evidence=NO_RESULT if self.result is None else _evidence(self.result),
            result=NO_RESULT if self.result is None else hashlib.sha256(self.token).digest(),
        )  # fmt: skip


def _kind(error: CloisterError) -> tuple[type[ReleaseDenied | ReleaseUnattested | ReleaseUndecided], str]:
    if isinstance(error, UnknownSecret):
        return ReleaseDenied, "unknown-secret"
    if isinstance(error, Denied):
        return ReleaseDenied, "policy-deny"
    if isinstance(error, NotAttested):
        return ReleaseUnattested, "not-attested"
    return ReleaseUndecided, "undecided"


def _reason(error: CloisterError) -> str:
    """The error's words, which are ours, within what an entry takes."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return text[:900] or type(error).__name__


def _evidence(result: AttestationResult) -> tuple[Evidence, ...]:
    return tuple(_piece(name, one) for name, one in result.submodules.items())


def _piece(name: str, one: Submodule) -> Evidence:
    unsaid = Unchecked("the verifier does not say")
    return Evidence(
        name=name, verdict=one.status, tee=unsaid if one.basis is None else one.basis.tee,
        sha256=one.basis.evidence_sha256 if one.basis and one.basis.evidence_sha256 else unsaid,
        measurements=_measurements(one),
    )  # fmt: skip


def _measurements(one: Submodule) -> tuple[Measurement, ...]:
    digest = bytes.fromhex(measurement_of(one))
    if one.basis is None or len(digest) not in HASHES:
        return ()
    name = MEASUREMENT_CLAIM[one.basis.tee]
    return (Measurement(name, MeasurementKind.LAUNCH, Digest(HASHES[len(digest)], digest)),)


def runtime_claims(nonce: str, recipient: Recipient) -> dict[str, Json]:
    """What a verifier adds to the first submodule's evidence, so that relying parties find the key."""
    return {RUNTIME_CLAIMS: {"nonce": nonce, TEE_KEY: dict(recipient.jwk)}}
