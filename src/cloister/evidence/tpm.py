"""TPM 2.0 quotes: signed statement, signature, and what belongs to them: key, PCR values, event log.

TCG TPM 2.0 Library, part 2, section 10.12.12; part 3, section 18.4 (TPM2_Quote). The TCG defines no file that holds all
of it: tools write one file each (`of_parts`). The one public container in a single piece is Confidential Containers
Trustee's JSON evidence (deps/verifier/src/tpm):

    {"ak_public": base64, "tpm_quote": {"message": base64, "pcrs": [hex, ...], "signature": base64}}

where `pcrs` are the values in the order of the quote's selection. Two additions, both optional: `event_log` (base64)
beside `tpm_quote`, and `ak_public` may hold the TPM's public area instead of DER. White space in JSON is not evidence:
`serialize` gives the compact form with these keys in this order.
"""

import binascii
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from cloister import _json
from cloister._wire import frozen
from cloister.errors import ParseError
from cloister.evidence import eventlog
from cloister.evidence.eventlog import EventLog
from cloister.evidence.tpm_attest import Attest, PcrSelection, TpmSignature, parse_attest, parse_signature, selected
from cloister.evidence.tpm_key import AttestationKey, parse_key
from cloister.model import Tee

__all__ = ["PcrBank", "TpmQuote", "looks_like", "of_parts", "parse"]

RECORD: Final = "TPM evidence"
LONGEST_SIGNED: Final = 1024
"""Bytes. A quote over every bank has less than 300, a signature at most 518."""

LONGEST: Final = 8 << 20
"""Bytes of JSON: the longest event log in base64, and the rest."""

EVIDENCE_KEYS: Final = frozenset({"ak_public", "tpm_quote"})
QUOTE_KEYS: Final = frozenset({"message", "pcrs", "signature"})

NUMBERS: Final = {name: number for number, (name, _) in eventlog.ALGORITHMS.items()}
"""Hashlib's names to TPM_ALG_ID."""

PcrValues = Mapping[str, Mapping[int, bytes]] | Mapping[int, Mapping[int, bytes]]
"""PCR values by bank and index. Banks go by hashlib's name or TPM_ALG_ID."""

PCR_SIZES: Final = {20, 32, 48, 64}


@dataclass(frozen=True, slots=True)
class PcrBank:
    """PCR values of one bank: TPM_ALG_ID, and for every index in `indices` its value in `values`, in that order."""

    algorithm: int
    indices: tuple[int, ...]
    values: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TpmQuote:
    """A quote and what came with it. `key` is None where it comes another way (endorsements, Azure's runtime data).

    `pcrs` is empty and `event_log` None if they were not handed over. Only what `attest` says is signed.
    """

    tee: ClassVar[Tee] = Tee.TPM

    attest: Attest
    signature: TpmSignature
    key: AttestationKey | None = None
    pcrs: tuple[PcrBank, ...] = field(default=(), repr=False)
    event_log: EventLog | None = field(default=None, repr=False)

    def serialize(self) -> bytes:
        """The JSON form. ValueError if the PCR values are not those that the quote selects, or there is no key."""
        if self.key is None or (self.pcrs and not self.in_order):
            raise ValueError("the JSON form needs the key, and exactly the PCR values that the quote selects, or none")
        quote = {
            "message": encoded(self.attest.serialize()),
            "pcrs": [value.hex() for bank in self.pcrs for value in bank.values],
            "signature": encoded(self.signature.serialize()),
        }
        made: dict[str, object] = {"ak_public": encoded(self.key.serialize()), "tpm_quote": quote}
        if self.event_log is not None:
            made["event_log"] = encoded(self.event_log.serialize())
        return json.dumps(made, separators=(",", ":")).encode()

    @property
    def in_order(self) -> bool:
        """Whether the PCR values are exactly those that the quote selects, in its order."""
        wanted = [(one.algorithm, selected(one.bitmap)) for one in self.attest.selections]
        return [(bank.algorithm, bank.indices) for bank in self.pcrs] == wanted


def encoded(data: bytes) -> str:
    """Base64 as JSON carries it."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def looks_like(data: bytes) -> bool:
    """Whether this looks like the JSON form."""
    return data[:64].lstrip()[:1] == b"{" and b'"ak_public"' in data[:LONGEST] and b'"tpm_quote"' in data[:LONGEST]


def of_parts(
    message: bytes,
    signature: bytes,
    *,
    key: bytes = b"",
    pcrs: PcrValues | None = None,
    event_log: bytes = b"",
) -> TpmQuote:
    """A quote from the files that tools write: TPMS_ATTEST, signature, key, PCR values by bank and index, event log.

    What is empty was not handed over. ParseError if a part is malformed.
    """
    if max(len(message), len(signature)) > LONGEST_SIGNED:
        raise ParseError("TPM quote", "length", 0, f"message and signature have at most {LONGEST_SIGNED} bytes each")
    attest = parse_attest(message)
    return frozen(TpmQuote, {
        "attest": attest,
        "signature": parse_signature(signature),
        "key": parse_key(key) if key else None,
        "pcrs": _banks(pcrs, attest.selections) if pcrs else (),
        "event_log": eventlog.parse(event_log) if event_log else None,
    })  # fmt: skip


def _banks(pcrs: PcrValues, selections: Sequence[PcrSelection]) -> tuple[PcrBank, ...]:
    """The values in the order of the quote's selection; those of banks that it does not select stand behind."""
    given: dict[int, PcrBank] = {}
    for bank, values in pcrs.items():
        number = NUMBERS.get(bank, -1) if isinstance(bank, str) else bank
        size = eventlog.ALGORITHMS.get(number, ("", 0))[1]
        indices = tuple(sorted(values))
        digests = tuple(map(values.__getitem__, indices))
        if not size or number in given or not {*map(len, digests)} <= {size}:
            raise ParseError(
                "TPM quote", "pcrs", 0, f"bank {bank} is unknown, stands twice, or a value has another size"
            )
        given[number] = PcrBank(number, indices, digests)
    order = [s.algorithm for s in selections if s.algorithm in given]
    return tuple(given[number] for number in [*order, *(one for one in given if one not in order)])


def parse(data: bytes, *, base: int = 0) -> TpmQuote:
    """Read the JSON form."""
    if len(data) > LONGEST:
        raise ParseError(RECORD, "length", base, f"{len(data)} bytes; at most {LONGEST}")
    document = _json.loads(data, RECORD)
    quote = _json.member(document, "tpm_quote", RECORD)
    only_keys(document, EVIDENCE_KEYS, EVIDENCE_KEYS | {"event_log"})
    only_keys(quote, QUOTE_KEYS, QUOTE_KEYS)
    attest = parse_attest(decoded(_json.text(quote, "message", RECORD), "message", LONGEST_SIGNED))
    has_log = isinstance(document, dict) and "event_log" in document
    return frozen(TpmQuote, {
        "attest": attest,
        "signature": parse_signature(decoded(_json.text(quote, "signature", RECORD), "signature", LONGEST_SIGNED)),
        "key": _key(_json.text(document, "ak_public", RECORD)),
        "pcrs": _in_order(_json.members(quote, "pcrs", RECORD), attest.selections),
        "event_log": _log(_json.text(document, "event_log", RECORD)) if has_log else None,
    })  # fmt: skip


def only_keys(value: object, needed: frozenset[str], known: frozenset[str]) -> None:
    """Refuse an object that lacks a key or has others: what is not understood is not dropped silently."""
    if not isinstance(value, dict) or not needed <= value.keys() <= known:
        keys = sorted(value) if isinstance(value, dict) else "no object"
        raise ParseError(
            RECORD, "keys", 0, f"needs {sorted(needed)}, may have {sorted(known - needed)}; has {keys}"[:400]
        )


@functools.lru_cache(maxsize=1024)
def _key(text: str) -> AttestationKey:
    """The key in base64. Remembered by its text: a key is the same in all its quotes."""
    return parse_key(decoded(text, "ak_public", LONGEST_SIGNED * 8))


def _log(text: str) -> EventLog:
    return eventlog.parse(decoded(text, "event_log", LONGEST))


def decoded(text: str, key: str, most: int) -> bytes:
    """The bytes in base64 that stands under `key`, in its one form; 1 to `most` of them."""
    try:
        data = binascii.a2b_base64(text)  # skips what is no digit; the comparison below does not
    except ValueError as error:
        raise ParseError(RECORD, key, 0, f"is not base64: {error}") from error
    if encoded(data) != text or not 1 <= len(data) <= most:
        raise ParseError(RECORD, key, 0, f"is not base64 in its one form, or not of 1 to {most} bytes")
    return data


def _in_order(texts: Sequence[object], selections: Sequence[PcrSelection]) -> tuple[PcrBank, ...]:
    """The banks that a flat list of values in the order of the selection describes."""
    if not texts:
        return ()
    values = hex_values(texts)
    if len(values) != sum(len(one.indices) for one in selections):
        raise ParseError(RECORD, "pcrs", 0, f"{len(values)} values; the quote selects another number")
    banks, start = [], 0
    for one in selections:
        end = start + len(one.indices)
        size = eventlog.ALGORITHMS.get(one.algorithm, ("", 0))[1]
        these = values[start:end]
        if not {*map(len, these)} <= {size}:
            raise ParseError(RECORD, "pcrs", 0, f"a value does not have the size of bank {one.bank}")
        banks.append(PcrBank(one.algorithm, one.indices, these))
        start = end
    return tuple(banks)


def hex_values(texts: Sequence[Any]) -> tuple[bytes, ...]:
    """PCR values from their hexadecimal digits, and nothing but these."""
    try:
        values = tuple(map(bytes.fromhex, texts))
    except (TypeError, ValueError):
        values = ()
    digits = sum(map(len, texts)) if values else 0  # `fromhex` skips white space, so it could be more than twice
    if not values or digits != 2 * sum(map(len, values)) or not {*map(len, values)} <= PCR_SIZES:
        raise ParseError(RECORD, "pcrs", 0, "has a member that is not a PCR value in hexadecimal digits")
    return values
