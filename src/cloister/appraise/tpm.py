"""What a verified TPM quote claims, in the TPM specification's words."""

import json
import re
from collections.abc import Mapping
from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import as_claim
from cloister.evidence.eventlog import EV_NO_ACTION, EventLog
from cloister.evidence.tpm import PcrBank, TpmQuote
from cloister.evidence.tpm_attest import bank_name
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.eventlog import explained
from cloister.verification.recipe import VerifiedEvidence
from cloister.verification.tpm_quote import register_name

__all__ = ["claims", "measurements"]

PREFERRED: Final = ("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "sha1")
"""Which bank the claims `pcr0` to `pcr23` are of, where a quote has several. Claims of others bear the bank's name."""

LONGEST_TEXT: Final = 256
"""Characters of an event's text that are worth showing; boot variables and certificates are longer."""


def claims(verified: VerifiedEvidence[TpmQuote]) -> dict[str, Claim]:
    """The quote's fields, the PCR values, who vouched for the key, and the events that the PCRs prove.

    `debug` is that of the confidential VM where its hardware report vouches for the vTPM; a TPM has no such state.
    `events` are (register, type, digest, text); the text is empty unless it is what was measured, the type is a hint.
    """
    quote, facts = verified.evidence, verified.facts
    attest = quote.attest
    banks = sorted(quote.pcrs, key=lambda bank: rank(bank_name(bank.algorithm)))
    made: dict[str, Claim] = {
        "debug": facts.get("hardware_debug") is True,
        "qualified_signer": attest.qualified_signer.hex(),
        "extra_data": attest.extra_data.hex(),
        "clock": attest.clock,
        "reset_count": attest.reset_count,
        "restart_count": attest.restart_count,
        "safe": bool(attest.safe),
        "firmware_version": f"{attest.firmware_version:016x}",
        "signature_scheme": quote.signature.scheme,
        "signature_hash": quote.signature.digest,
        "pcr_digest": attest.pcr_digest.hex(),
        "pcr_banks": [one.bank for one in attest.selections],
    }
    for place, bank in enumerate(banks):
        prefix = "" if place == 0 else f"{bank_name(bank.algorithm)}_"
        made |= {f"{prefix}pcr{index}": value.hex() for index, value in pairs(bank)}
    if banks:
        made["pcr_bank"] = bank_name(banks[0].algorithm)
    return made | from_facts(facts, quote.event_log)


def pairs(bank: PcrBank) -> list[tuple[int, bytes]]:
    """Index and value of every PCR of a bank."""
    return list(zip(bank.indices, bank.values, strict=True))


def rank(bank: str) -> int:
    """How early a bank is preferred."""
    return PREFERRED.index(bank) if bank in PREFERRED else len(PREFERRED)


def from_facts(facts: Mapping[str, object], log: EventLog | None) -> dict[str, Claim]:
    """What verification found out beside the quote."""
    made = {name: as_claim(facts[name]) for name in ("ak", "ak_certificate") if facts.get(name)}
    proven = facts.get("event_log_proven")
    if isinstance(proven, tuple) and proven and log is not None:
        made["event_log_proven"] = [str(name) for name in proven]
        made["events"] = events(log, frozenset(map(str, proven)))
    if facts.get("hardware"):
        made["hardware"] = as_claim(facts["hardware"])
        made["vm_user_data"] = as_claim(facts.get("vm_user_data", ""))
        configuration = facts.get("vm_configuration")
        if isinstance(configuration, Mapping):
            made = {vm_name(name): configured(value) for name, value in configuration.items()} | made
    return made


def vm_name(name: str) -> str:
    """A configuration's name in snake case: `secure-boot` is `vm_secure_boot`, `vmUniqueId` is `vm_unique_id`."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").lower()
    return f"vm_{snake.removeprefix('vm_')}"


def configured(value: object) -> Claim:
    """A value of the VM's configuration: as it stands, or as JSON if it is no plain one."""
    return value if isinstance(value, str | int) else json.dumps(value, sort_keys=True)


def events(log: EventLog, proven: frozenset[str]) -> list[Claim]:
    """The events that extended a proven register, in the first bank that proves it."""
    made: list[Claim] = []
    for event in log.events:
        banks = [bank for bank in log.banks if register_name(bank, event.register) in proven]
        if event.type == EV_NO_ACTION or not banks:
            continue
        part = explained(event, banks[0])
        made.append([f"pcr{event.register}", event.type_name, event.digest(banks[0]).hex(), text_of(part or b"")])
    return made


def text_of(data: bytes) -> str:
    """Data as text if it is short and printable, else empty."""
    for encoding in ("utf-8", "utf-16-le"):
        try:
            text = data.rstrip(b"\0" if encoding == "utf-8" else b"").decode(encoding).rstrip("\0")
        except UnicodeDecodeError:
            continue
        if text.isprintable() and len(text) <= LONGEST_TEXT:
            return text
    return ""


def measurements(evidence: TpmQuote) -> tuple[Measurement, ...]:
    """Every PCR value, in the order of the quote's selection: all of them are extended while the machine runs."""
    return tuple(
        Measurement(f"pcr{index}", MeasurementKind.RUNTIME, Digest(bank_name(bank.algorithm), value))
        for bank in evidence.pcrs
        for index, value in pairs(bank)
    )
