"""What an audit log tells: who got which secret, on what evidence, under which session; or why not.

No event has a place for a secret's bytes: secrets appear by name and version, keys and evidence by SHA-256.
Whatever is put into an event is checked when it is made, so that no event exists that could not be written and read.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from cloister.appraise.vector import Tier
from cloister.model import Measurement, Tee, Unchecked
from cloister.result.algorithms import ED25519

__all__ = [
    "Change",
    "Event",
    "Evidence",
    "KeyChange",
    "KeyEncryptionChanged",
    "LogStarted",
    "NotReleased",
    "ReleaseDenied",
    "ReleaseUnattested",
    "ReleaseUndecided",
    "Released",
    "RootRefused",
    "RootTaken",
    "SecretChanged",
    "SecretName",
    "SessionChanged",
    "SessionName",
    "TornTail",
]

LONGEST_NAME: Final = 256
LONGEST_REASON: Final = 1000
LONGEST_VOLUME: Final = 1024
MOST: Final = 64
"""Of secrets, pieces of evidence, measurements or owners in one event."""

CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Never in a text: control characters, separators of lines, half characters. Not `str.isprintable`, whose answer
depends on the version of Python: a log is read for longer than that."""
CODE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LOG_ID: Final = 16
SHA256: Final = 32
LONGEST_DIGEST: Final = 64
"""Bytes."""


def _texts(longest: int, **values: str) -> None:
    for name, value in values.items():
        if not 1 <= len(value) <= longest or CONTROL.search(value):
            raise ValueError(f"{name}: 1 to {longest} characters without control characters")


def _codes(**values: str) -> None:
    for name, value in values.items():
        if len(value) > LONGEST_NAME or not CODE.fullmatch(value):
            raise ValueError(f"{name}: lower-case words joined by hyphens, at most {LONGEST_NAME} characters")


def _reasons(**values: object) -> None:
    """What is `Unchecked` says why."""
    for name, value in values.items():
        if isinstance(value, Unchecked):
            _texts(LONGEST_REASON, **{name: value.reason})


def _digests(**values: bytes | Unchecked) -> None:
    _reasons(**values)
    for name, value in values.items():
        if not isinstance(value, Unchecked) and len(value) != SHA256:
            raise ValueError(f"{name}: a SHA-256 has {SHA256} bytes, this has {len(value)}")


def _few(**values: tuple[object, ...] | Unchecked) -> None:
    _reasons(**values)
    for name, value in values.items():
        if not isinstance(value, Unchecked) and len(value) > MOST:
            raise ValueError(f"{name}: at most {MOST} in one event, these are {len(value)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionName:
    """The session that decided. `sha256` is its identity, the digest of its canonical form; `version` is free text."""

    name: str
    version: str
    sha256: bytes

    def __post_init__(self) -> None:
        """Refuse what does not name a session."""
        _texts(LONGEST_NAME, name=self.name, version=self.version)
        _digests(sha256=self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretName:
    """A secret by its name and version, from 1; never its bytes, nor a digest of them, which could be guessed at."""

    name: str
    version: int

    def __post_init__(self) -> None:
        """Refuse what does not name a secret."""
        _texts(LONGEST_NAME, name=self.name)
        if not 1 <= self.version < 1 << 53:  # larger numbers do not survive every JSON reader (RFC 8259, section 6)
            raise ValueError("version: a whole number from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece of evidence as a verifier appraised it: a submodule of its result.

    `sha256` is of the evidence as it was sent, `verdict` the verifier's tier of the submodule `name` (`cpu0`, `gpu0`).
    Results of other verifiers may not say which TEE it was, or which bytes: that is `Unchecked`, with why.
    """

    name: str
    tee: Tee | Unchecked
    sha256: bytes | Unchecked
    measurements: tuple[Measurement, ...]
    verdict: Tier

    def __post_init__(self) -> None:
        """Refuse what does not identify evidence."""
        _texts(LONGEST_NAME, name=self.name)
        _digests(sha256=self.sha256)
        _reasons(tee=self.tee)
        _few(measurements=self.measurements)
        for one in self.measurements:
            _texts(LONGEST_NAME, measurement=one.name)
            _codes(algorithm=one.digest.algorithm.replace("_", "-"))
            if not 1 <= len(one.digest.value) <= LONGEST_DIGEST:
                raise ValueError(f"measurement: a digest has 1 to {LONGEST_DIGEST} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStarted:
    """The first entry of every log. `key` is the broker's public key (DER SubjectPublicKeyInfo), `log` 16 random bytes.

    The key that a log names proves nothing: whoever makes a log can name a key. It tells another broker's log from a
    forged one.
    """

    kind: ClassVar[str] = "log-started"
    key: bytes
    log: bytes

    def __post_init__(self) -> None:
        """Refuse a log without identity."""
        if len(self.log) != LOG_ID or not self.key.startswith(ED25519) or len(self.key) != len(ED25519) + 32:
            raise ValueError(f"log: {LOG_ID} bytes; key: the DER SubjectPublicKeyInfo of an Ed25519 key")


@dataclass(frozen=True, slots=True, kw_only=True)
class TornTail:
    """The log ended in the middle of a line when it was opened: an append was interrupted, and never confirmed.

    The `size` bytes were kept in the file named `FILE.torn.SEQUENCE`, with this entry's sequence number.
    """

    kind: ClassVar[str] = "torn-tail"
    size: int
    sha256: bytes

    def __post_init__(self) -> None:
        """Refuse a tail that is none."""
        _digests(sha256=self.sha256)
        if not 1 <= self.size < 1 << 53:
            raise ValueError("size: a whole number of bytes, from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Secrets are handed out. Written before they leave: an entry may be of a release that then failed, never without.

    `result` is the SHA-256 of the attestation result, as it was presented or issued; `recipient` that of the attested
    public key to which the secrets are encrypted.
    """

    kind: ClassVar[str] = "released"
    request: str
    session: SessionName
    secrets: tuple[SecretName, ...]
    evidence: tuple[Evidence, ...]
    result: bytes
    recipient: bytes

    def __post_init__(self) -> None:
        """Refuse a release of nothing, or on no evidence."""
        _texts(LONGEST_NAME, request=self.request)
        _digests(result=self.result, recipient=self.recipient)
        _few(secrets=self.secrets, evidence=self.evidence)
        if not self.secrets or not self.evidence:
            raise ValueError("a release names at least one secret and one piece of evidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotReleased:
    request: str
    session: SessionName | Unchecked
    secrets: tuple[str, ...]
    """The names asked for: they need not exist, so they have no version."""
    evidence: tuple[Evidence, ...] | Unchecked
    result: bytes | Unchecked
    code: str
    """For programs: `policy-deny`."""
    reason: str
    """For people. Never quotes what came from outside."""

    def __post_init__(self) -> None:
        """Refuse a refusal without a reason."""
        _texts(LONGEST_NAME, request=self.request, **{f"secret {n}": one for n, one in enumerate(self.secrets)})
        _texts(LONGEST_REASON, reason=self.reason)
        _codes(code=self.code)
        _reasons(session=self.session)
        _few(secrets=self.secrets, evidence=self.evidence)
        _digests(result=self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDenied(_NotReleased):
    """Nothing was released, and that is decided (403). What was not there or not looked at is `Unchecked`, with why."""

    kind: ClassVar[str] = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseUnattested(_NotReleased):
    """Nothing was released: whoever asked showed no valid attestation result (401)."""

    kind: ClassVar[str] = "not-attested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseUndecided(_NotReleased):
    """Nothing was released because it could not be decided (503): something was missing. Never a denial."""

    kind: ClassVar[str] = "undecided"


class Change(StrEnum):
    """What was done to a session or secret."""

    CREATED = "created"
    UPDATED = "updated"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChanged:
    """A session began, replaced its predecessor or ended. `by` names the owners' keys that signed, by SHA-256."""

    kind: ClassVar[str] = "session-changed"
    request: str
    session: SessionName
    change: Change
    predecessor: bytes | Unchecked
    by: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what does not name who did what."""
        _texts(LONGEST_NAME, request=self.request)
        _few(by=self.by)
        _digests(predecessor=self.predecessor, **{f"by {number}": one for number, one in enumerate(self.by)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretChanged:
    """A secret was made, rotated, revoked or expired. `secret` has the version that came of it, or that ended."""

    kind: ClassVar[str] = "secret-changed"
    request: str
    session: SessionName
    secret: SecretName
    change: Change
    by: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what does not name who did what."""
        _texts(LONGEST_NAME, request=self.request)
        _few(by=self.by)
        _digests(**{f"by {number}": one for number, one in enumerate(self.by)})


class KeyChange(StrEnum):
    """How far a change of the key-encryption key has come."""

    BEGUN = "begun"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEncryptionChanged:
    """The key that encrypts keys is being changed, or was.

    `before` and `after` identify the old and the new one, without saying anything about them; `keys` counts how many
    wrapped keys are under the new one then.
    """

    kind: ClassVar[str] = "key-encryption-changed"
    request: str
    change: KeyChange
    before: str
    after: str
    keys: int

    def __post_init__(self) -> None:
        """Refuse what names no keys."""
        _texts(LONGEST_NAME, request=self.request)
        _texts(LONGEST_REASON, before=self.before, after=self.after)
        if not 0 <= self.keys < 1 << 53:
            raise ValueError("keys: a whole number, from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTaken:
    """A start of a program took a volume over: what it reports from now on is the newest. Later reports have no entry.

    `volume` is the session's name for it; `digest` the SHA-256 of the superblock of that generation.
    """

    kind: ClassVar[str] = "root-taken"
    request: str
    session: SessionName
    volume: str
    start: str
    generation: int
    digest: bytes

    def __post_init__(self) -> None:
        """Refuse what names no state of a volume."""
        _texts(LONGEST_NAME, request=self.request, start=self.start)
        _texts(LONGEST_VOLUME, volume=self.volume)
        _digests(digest=self.digest)
        if not 1 <= self.generation < 1 << 53:
            raise ValueError("generation: a whole number, from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRefused:
    """A report of a volume's root was not kept: forged, of another session or start, older, or of another history."""

    kind: ClassVar[str] = "root-refused"
    request: str
    session: SessionName | Unchecked
    volume: str | Unchecked
    code: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse a refusal without a reason."""
        _texts(LONGEST_NAME, request=self.request)
        _texts(LONGEST_REASON, reason=self.reason)
        if not isinstance(self.volume, Unchecked):
            _texts(LONGEST_VOLUME, volume=self.volume)
        _codes(code=self.code)
        _reasons(session=self.session, volume=self.volume)


NotReleased = ReleaseDenied | ReleaseUnattested | ReleaseUndecided
"""Requests that got nothing."""

Event = (
    LogStarted | TornTail | Released | NotReleased | SessionChanged | SecretChanged | KeyEncryptionChanged | RootTaken
    | RootRefused
)  # fmt: skip
"""Everything that can be in a log."""
