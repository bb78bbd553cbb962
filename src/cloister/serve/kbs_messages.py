"""The messages of the KBS protocol 0.4.0 (Trustee, kbs/docs/kbs_attestation_protocol.md), read strictly.

Request     {"version": "0.4.0", "tee": NAME, "extra-params": ANY}; of the latter, `tee-metadata` must name the same
            TEE, and `attestation-policy-selector` is refused, for there is one policy
Challenge   {"nonce": base64, "extra-params": ""}
Attestation {"init-data": null or {"format": "toml", "body": TEXT}, "runtime-data": {"nonce", "tee-pubkey"},
            "tee-evidence": {"primary_evidence", "additional_evidence": "" or JSON text}}

Evidence is bound to the key by its report data: SHA-384 of the runtime data in canonical JSON, zeros behind it.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister.broker.recipient import Recipient
from cloister.errors import NotAttested, ParseError, PolicyError
from cloister.measure.init_data import FIELDS, InitData, read_init_data
from cloister.model import Challenge, Tee

__all__ = ["TEES", "VERSION", "Attestation", "Piece", "parse_attestation", "parse_request"]

VERSION: Final = "0.4.0"
"""Trustee's server demands exactly this one (kbs/src/attestation/backend.rs), whatever its prose says."""
TEES: Final[Mapping[str, frozenset[Tee]]] = {
    "sgx": frozenset({Tee.SGX}), "tdx": frozenset({Tee.TDX}), "snp": frozenset({Tee.SNP}), "cca": frozenset({Tee.CCA}),
    "tpm": frozenset({Tee.TPM}), "az-snp-vtpm": frozenset({Tee.SNP}), "az-tdx-vtpm": frozenset({Tee.TDX}),
    "keystone": frozenset({Tee.KEYSTONE}), "software": frozenset({Tee.SOFTWARE}),
}  # fmt: skip
"""The protocol's names, and what the evidence must then be of. The last two names are additions of Cloister.

SEV is not among them: its reports have room for a nonce of 16 bytes, not for a hash of a key.
"""
RECORD: Final = "Attestation"
SELECTOR: Final = "attestation-policy-selector"
METADATA: Final = "tee-metadata"
MOST_ADDITIONAL: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of evidence: what it is said to be of, its bytes, and the challenge that its report data answers."""

    tee: str
    evidence: bytes = field(repr=False)
    challenge: Challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """An answer to a challenge: the key, and evidence that is bound to it, the CPU's first."""

    nonce: str
    recipient: Recipient
    pieces: tuple[Piece, ...]
    init_data: InitData | None = None
    """What the guest says that its host handed it; the CPU's evidence must say the same."""


def parse_request(data: bytes) -> str:
    """The TEE that the attester says it is; NotAttested for another version or a TEE that is not verified here."""
    document = _json.loads(data, "Request")
    version, tee = _json.text(document, "version", "Request"), _json.text(document, "tee", "Request")
    extra = _json.member(document, "extra-params", "Request")
    if version != VERSION:
        raise NotAttested("this is version 0.4.0 of the KBS protocol, and the request is of another")
    if tee not in TEES:
        raise NotAttested(f"evidence of this TEE is not verified here; it is of: {', '.join(TEES)}")
    _check_extra(extra, tee)
    return tee


def _check_extra(extra: object, tee: str) -> None:
    """NotAttested for what an attester may only ask of a service that does it."""
    if not isinstance(extra, Mapping):
        return
    if SELECTOR in extra:
        raise NotAttested(f"{SELECTOR} selects nothing here: there is one policy; leave it out")
    if METADATA in extra:
        primary = _json.member(extra[METADATA], "primary_tee", METADATA)
        if _json.text(primary, "tee", METADATA) != tee:
            raise NotAttested(f"{METADATA} names another primary TEE than the request does")


def parse_attestation(data: bytes, tee: str) -> Attestation:
    """The message, for a session in which the attester said that it is `tee`. ParseError if it is not one."""
    document = _json.loads(data, RECORD)
    init_data = _init_data(document, tee)
    runtime, evidence = (_json.member(document, name, RECORD) for name in ("runtime-data", "tee-evidence"))
    nonce = _json.text(runtime, "nonce", "runtime-data")
    recipient = Recipient.of_jwk(_json.member(runtime, "tee-pubkey", "runtime-data"))
    additional = _json.text(evidence, "additional_evidence", "tee-evidence")
    bound = {"nonce": nonce, "tee-pubkey": dict(recipient.jwk)}
    first = Piece(
        tee=tee, evidence=_evidence(_json.member(evidence, "primary_evidence", "tee-evidence")),
        challenge=_challenge(bound | {"additional-evidence": additional}),
    )  # fmt: skip
    pieces = (first, *_additional(additional, _challenge(bound)))
    return Attestation(nonce=nonce, recipient=recipient, pieces=pieces, init_data=init_data)


def _init_data(document: object, tee: str) -> InitData | None:
    """The init data, if there is any, of a TEE whose evidence has a field for it."""
    found = document.get("init-data") if isinstance(document, Mapping) else None
    if found is None:
        return None
    if tee not in FIELDS:
        raise ParseError(RECORD, "init-data", 0, f"is checked for {', '.join(FIELDS)}, not for {tee}: send null")
    if _json.text(found, "format", "init-data") != "toml":
        raise ParseError("init-data", "format", 0, "is not toml, the only form that attestation services take")
    try:
        return read_init_data(_json.text(found, "body", "init-data"), "body")
    except PolicyError as error:
        raise ParseError("init-data", "body", 0, str(error)) from error


def _challenge(runtime: Mapping[str, object]) -> Challenge:
    """What the report data must be: the hash of the runtime data as serde_json writes it with sorted keys."""
    text = json.dumps(runtime, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Challenge(hashlib.sha384(text.encode()).digest())


def _additional(text: str, challenge: Challenge) -> tuple[Piece, ...]:
    """Evidence of devices: a JSON object, TEE to evidence, or to a pair of the TEE's class and the evidence."""
    if not text:
        return ()
    found = _json.loads(text, "additional_evidence")
    if not isinstance(found, Mapping) or len(found) > MOST_ADDITIONAL:
        raise ParseError("additional_evidence", "members", 0, f"is no object of at most {MOST_ADDITIONAL}")
    pieces = []
    for tee, value in found.items():
        if tee not in TEES:
            raise NotAttested("additional evidence of a TEE that is not verified here")
        inner = value[1] if isinstance(value, list) and len(value) == 2 else value
        pieces.append(Piece(tee=tee, evidence=_evidence(inner), challenge=challenge))
    return tuple(pieces)


def _evidence(value: object) -> bytes:
    """The bytes to verify: the JSON that Trustee's agents send, or what stands alone under `evidence` in base64."""
    if isinstance(value, Mapping) and value.keys() == {"evidence"}:
        try:
            return base64.b64decode(_json.text(value, "evidence", "primary_evidence"), validate=True)
        except ValueError as error:  # also what is no ASCII
            raise ParseError("primary_evidence", "evidence", 0, "is not base64") from error
    if not isinstance(value, Mapping | list):
        raise ParseError("tee-evidence", "primary_evidence", 0, "is neither an object nor a list")
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
