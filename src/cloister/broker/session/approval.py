"""Owners' approvals: a signature over a session's identity, in a file of its own.

An update takes effect when enough owners **of the session that it replaces** have signed it; a first session, when
enough of its own have. What is signed names the session, its hash, the hash of what it replaces, and the owner's key:

    "cloister session approval 1" NUL, then JSON with sorted keys and no space:
    {"hash": ..., "owner": SHA-256 of the public key, "predecessor": ... or null, "session": name}

so an approval is good for one session, in one place of its history, and counts for one owner. Signatures are those of
`cloister.result.algorithms`: Ed25519, ECDSA with P-256 or P-384, RSA-PSS; the key decides which.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloister import _json
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read_people import fingerprint
from cloister.broker.session.session import Approvals, KeyHolder, Session
from cloister.errors import BindingInvalid, ParseError, PolicyError
from cloister.result import _base64url
from cloister.result.algorithms import check_signature
from cloister.result.signing import SigningKey

__all__ = [
    "Agreement",
    "Approval",
    "agreement",
    "approval_json",
    "check_approval",
    "check_successor",
    "governing",
    "parse_approval",
    "sign_approval",
]

CONTEXT: Final = b"cloister session approval 1\0"
FORMAT: Final = "cloister-approval-1"
LONGEST: Final = 8192
"""Bytes of an approval's file: an RSA signature has at most 1,366 characters."""
MEMBERS: Final = ("format", "session", "hash", "predecessor", "owner", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One owner's signature. `hash`, `predecessor` (empty if none) and `owner` are hexadecimal SHA-256."""

    session: str
    hash: str
    predecessor: str
    owner: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Who has signed and who has not. `needed` is 0 where nobody must."""

    needed: int
    signed: tuple[KeyHolder, ...]
    missing: tuple[KeyHolder, ...]

    @property
    def reached(self) -> bool:
        """Whether enough owners have signed for the session to take effect."""
        return len(self.signed) >= self.needed


def check_successor(current: Session, update: Session, identity: str = "") -> None:
    """Whether `update` replaces `current`, and nothing else; PolicyError says which session is the current one.

    `identity` is the hash of a `current` whose values are not at hand.
    """
    identity = identity or session_hash(current)
    if update.name != current.name:
        raise PolicyError(
            f"{update.file}: this session is {update.name}, the current one {current.name}: an update keeps the name"
        )
    if update.predecessor != identity:
        given = update.predecessor or "nothing"
        raise PolicyError(
            f"{update.file}: it replaces {given}, but the current session is {identity}; look at what changed since, "
            f'then write `predecessor: "{identity}"`'
        )


def governing(update: Session, predecessor: Session | None) -> Approvals | None:
    """Whose approval counts: the owners of the session that is replaced; a first session's own."""
    return update.approvals if predecessor is None else predecessor.approvals


def sign_approval(session: Session, key: SigningKey) -> Approval:
    """The approval of whoever holds the key. What is signed is the session as it is read here."""
    unsigned = Approval(
        session=session.name, hash=session_hash(session), predecessor=session.predecessor, owner=fingerprint(key.spki),
        signature=b"",
    )  # fmt: skip
    return Approval(
        session=unsigned.session, hash=unsigned.hash, predecessor=unsigned.predecessor, owner=unsigned.owner,
        signature=key.sign(_signed(unsigned)),
    )  # fmt: skip


def _signed(approval: Approval) -> bytes:
    named = {
        "hash": approval.hash,
        "owner": approval.owner,
        "predecessor": approval.predecessor or None,
        "session": approval.session,
    }
    return CONTEXT + json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def check_approval(approval: Approval, session: Session, owners: Approvals) -> KeyHolder:
    """The owner who signed exactly this session; BindingInvalid or SignatureInvalid if none did."""
    identity = session_hash(session)
    for what, expected, actual in (
        ("another session", session.name, approval.session),
        ("another version of the session", identity, approval.hash),
        ("another place in its history", session.predecessor, approval.predecessor),
    ):
        if expected != actual:
            raise BindingInvalid(
                f"this approval is of {what}: it cannot be used for {session.name}; have the owner sign this one",
                expected=expected, actual=actual, set_by=session.file,
            )  # fmt: skip
    owner = next((one for one in owners.owners if one.fingerprint == approval.owner), None)
    if owner is None:
        raise BindingInvalid(
            "this approval is of somebody who has no say here: owners of the session that is replaced must sign",
            expected=[one.fingerprint for one in owners.owners], actual=approval.owner, set_by=session.file,
        )  # fmt: skip
    check_signature(owner.spki, approval.signature, _signed(approval), what=f"the approval of {owner.name}")
    return owner


def agreement(session: Session, predecessor: Session | None, approvals: Iterable[Approval]) -> Agreement:
    """Who has signed. Raises as `check_approval` for the first that is no good; an owner counts once."""
    if predecessor is not None:
        check_successor(predecessor, session)
    elif session.predecessor:
        raise PolicyError(
            f"{session.file}: it replaces {session.predecessor}; give that session too: its owners' approvals count"
        )
    owners = governing(session, predecessor)
    if owners is None:
        return Agreement(needed=0, signed=(), missing=())
    signed = {check_approval(one, session, owners).fingerprint for one in approvals}
    return Agreement(
        needed=owners.threshold,
        signed=tuple(one for one in owners.owners if one.fingerprint in signed),
        missing=tuple(one for one in owners.owners if one.fingerprint not in signed),
    )


def approval_json(approval: Approval) -> str:
    """The approval's file."""
    members = {
        "format": FORMAT, "session": approval.session, "hash": approval.hash,
        "predecessor": approval.predecessor or None, "owner": approval.owner,
        "signature": _base64url.encode(approval.signature),
    }  # fmt: skip
    return json.dumps(members, indent=2, ensure_ascii=False) + "\n"


def parse_approval(data: bytes, file: str) -> Approval:
    """The approval in a file; ParseError if it is none. Nothing is verified."""
    record = f"approval {file}"
    if len(data) > LONGEST:
        raise ParseError(record, "length", 0, f"{len(data):,} bytes; at most {LONGEST:,}")
    document = _json.loads(data, record)
    if not isinstance(document, dict) or set(document) != set(MEMBERS):
        raise ParseError(record, "members", 0, f"an approval has exactly {', '.join(MEMBERS)}")
    if _json.text(document, "format", record) != FORMAT:
        raise ParseError(record, "format", 0, f"only {FORMAT} is known")
    try:
        signature = _base64url.decode(_json.text(document, "signature", record))
    except ValueError as error:
        raise ParseError(record, "signature", 0, str(error)) from None
    return Approval(
        session=_json.text(document, "session", record), hash=_digest(document, "hash", record),
        predecessor="" if document["predecessor"] is None else _digest(document, "predecessor", record),
        owner=_digest(document, "owner", record), signature=signature,
    )  # fmt: skip


def _digest(document: dict[str, object], key: str, record: str) -> str:
    text = _json.text(document, key, record)
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ParseError(record, key, 0, "is not a SHA-256 in lowercase hexadecimal digits")
    return text
