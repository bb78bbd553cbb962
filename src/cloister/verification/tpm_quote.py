"""The steps that every TPM quote goes through, whoever vouches for its key: `tpm.py` and `hcl.py` put them in order."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from cloister import _crypto
from cloister.errors import BindingInvalid, NotFresh, SignatureInvalid
from cloister.evidence.tpm import TpmQuote
from cloister.evidence.tpm_attest import GENERATED, QUOTE, TpmSignature, bank_name
from cloister.model import Challenge, Unchecked
from cloister.verification.eventlog import matched
from cloister.verification.recipe import Compared, Outcome, Recipe
from cloister.verification.tpm_key import primary_key

__all__ = ["QuoteCase", "add_quote_steps", "add_statement_step", "register_name"]

HASHES: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
"""What quotes may be signed with."""

SMALLEST_RSA: Final = 256
"""Bytes of the modulus, and so of the signature."""

LONGEST_COORDINATE: Final = 66
FIRMWARE_PCRS: Final = range(8)
"""PCRs that the firmware's log covers completely (PC Client Platform Firmware Profile, section 3.3.4)."""

A_QUOTE: Final = Compared((GENERATED, QUOTE), (GENERATED, QUOTE))
SIGNED: Final = Compared("valid under the attestation key", "valid")
NO_VALUES: Final = Unchecked("no PCR values came along: only their hash is proven")
NO_LOG: Final = Unchecked("no event log came along: what was measured is known by PCR values only")
BARE_KEY: Final = Unchecked("only the bare key is at hand, not the TPM's public area that says what the key may do")
NOT_PRIMARY: Final = Unchecked("the key is no primary key, so its public area is not proven by the quote")


@dataclass(slots=True, kw_only=True)
class QuoteCase:
    """One verification on its way, as far as every quote goes. `spki` is the key that something has vouched for."""

    quote: TpmQuote
    challenge: Challenge | Unchecked
    spki: bytes = b""
    proven: tuple[str, ...] = ()
    """PCRs whose value the event log explains."""


C = TypeVar("C", bound=QuoteCase)


def check_type(_: QuoteCase) -> Outcome:
    """Magic and type. The parser accepts no others."""
    return A_QUOTE


def check_attributes(case: QuoteCase) -> Outcome:
    """The public area, where there is one, says that the key only attests; proven if the quote names its hash."""
    key = case.quote.key
    if key is None or key.public is None:
        return BARE_KEY
    expected = "fixedTPM, restricted, sign, not decrypt"
    if not key.public.attests_only:
        raise BindingInvalid(
            "the key is not an attestation key: it signs what anybody hands it, can leave its TPM, or decrypts",
            expected=expected, actual=f"objectAttributes {key.public.attributes:#010x}",
        )  # fmt: skip
    if not primary_key(key.public, case.quote.attest.qualified_signer):
        return NOT_PRIMARY
    return Compared(expected, expected, "the quote's qualified signer")


def check_signature(case: QuoteCase) -> Outcome:
    """The key signed the statement."""
    signature, signed, what = case.quote.signature, case.quote.attest.signed, "the TPM's signature over the quote"
    if signature.digest not in HASHES:
        raise SignatureInvalid(
            f"the quote is signed with {signature.digest}: refused", expected=sorted(HASHES),
            actual=signature.digest,
        )  # fmt: skip
    key = _crypto.load_spki(case.spki)
    if signature.scheme == "ecdsa":
        _crypto.verify_ecdsa_raw(key, _padded(signature), signed, signature.digest, what=what)
        return SIGNED
    value = signature.parts[0]
    if len(value) < SMALLEST_RSA:
        raise SignatureInvalid("the attestation key has less than 2048 bits", expected="2048", actual=8 * len(value))
    if signature.scheme == "rsassa":
        _crypto.verify_rsa_pkcs1(key, value, signed, signature.digest, what=what)
    else:
        _verify_pss(key, value, signed, signature.digest, what)
    return SIGNED


def _padded(signature: TpmSignature) -> bytes:
    """The two numbers at equal length: TPMs leave leading zeros out."""
    if max(map(len, signature.parts)) > LONGEST_COORDINATE:
        raise SignatureInvalid("the TPM's signature over the quote is longer than any curve's")
    return b"".join(part.rjust(LONGEST_COORDINATE, b"\0") for part in signature.parts)


def _verify_pss(key: _crypto.PublicKey, value: bytes, signed: bytes, digest: str, what: str) -> None:
    """The salt is as long as the hash or, in TPMs before FIPS 186-4, as long as fits (part 1, annex B.7)."""
    size = hashlib.new(digest).digest_size
    try:
        _crypto.verify_rsa_pss(key, value, signed, digest, what=what, salt=size)
    except SignatureInvalid:
        _crypto.verify_rsa_pss(key, value, signed, digest, what=what, salt=len(value) - size - 2)


def check_nonce(case: QuoteCase) -> Outcome:
    """The extra data is the nonce, byte for byte."""
    if isinstance(case.challenge, Unchecked):
        return case.challenge
    nonce, extra_data = case.challenge.nonce, case.quote.attest.extra_data
    if nonce != extra_data:
        raise NotFresh(
            "extraData is not the nonce: this quote answers another challenge, or none",
            expected=nonce, actual=extra_data, set_by="the caller's nonce",
        )  # fmt: skip
    return Compared(nonce, extra_data, "the caller's nonce")


def check_pcrs(case: QuoteCase) -> Outcome:
    """The PCR values that came along are those that were signed."""
    quote = case.quote
    if not quote.pcrs:
        return NO_VALUES
    if not quote.in_order:
        raise BindingInvalid(
            "the PCR values are not those that the quote selects",
            expected=tuple((one.bank, one.indices) for one in quote.attest.selections),
            actual=tuple((bank_name(one.algorithm), one.indices) for one in quote.pcrs),
        )  # fmt: skip
    values = b"".join([value for bank in quote.pcrs for value in bank.values])
    actual = HASHES[quote.signature.digest](values).digest()
    if actual != quote.attest.pcr_digest:
        raise BindingInvalid(
            "the PCR values are not those that were signed", expected=quote.attest.pcr_digest, actual=actual,
            set_by="pcrDigest",
        )  # fmt: skip
    return Compared(quote.attest.pcr_digest, actual, "pcrDigest")


def check_log(case: QuoteCase) -> Outcome:
    """The event log gives the values of the PCRs that it mentions, in every bank that it has."""
    log, pcrs = case.quote.event_log, case.quote.pcrs
    if log is None:
        return NO_LOG
    if not pcrs:
        return Unchecked("an event log came along, but no PCR values to compare it with: nothing in it is proven")
    signed: list[bytes] = []
    reasons: list[str] = []
    for bank in pcrs:
        name = bank_name(bank.algorithm)
        names = register_names(name, bank.indices)
        registers = dict(zip(bank.indices, bank.values, strict=True))
        found = matched(log, registers, name, index_names=names, complete=FIRMWARE_PCRS)
        if isinstance(found, Unchecked):
            reasons.append(found.reason)
        else:
            case.proven += tuple(found)
            signed.extend(found.values())
    if not signed:
        return Unchecked("; ".join(reasons))
    return Compared(tuple(signed), case.proven, "the PCR values")


def register_name(bank: str, index: int) -> str:
    """A PCR of one bank, as the claims about proven registers name it."""
    return f"{bank} pcr{index}"


@functools.lru_cache(maxsize=64)
def register_names(bank: str, indices: tuple[int, ...]) -> Mapping[int, str]:
    """The names of a bank's PCRs by index."""
    return {index: register_name(bank, index) for index in indices}


def add_statement_step(recipe: Recipe[C]) -> None:
    """The step that comes first: what kind of statement this is."""
    recipe.step(
        "Made by a TPM",
        source="TPM 2.0 Library, part 2, section 10.12.12",
        fix="ask the TPM for TPM2_Quote",
        cost="a statement about something else would be taken for one about PCRs",
    )(check_type)


def add_quote_steps(recipe: Recipe[C]) -> None:
    """The steps that need the anchored key in `spki`, and nothing else."""
    recipe.step(
        "Key attests only",
        source="TPM 2.0 Library, part 1, section 25.1.5",
        fix="make the key with TPM2_CreatePrimary as a restricted signing key, and hand over its public area",
        cost="a key that is not restricted signs a forged quote for whoever may use it",
    )(check_attributes)
    recipe.step(
        "Signature over the quote",
        source="TPM 2.0 Library, part 3, section 18.4",
        fix="nothing: the quote was altered, or signed with another key",
        cost="every PCR value could be forged",
    )(check_signature)
    recipe.step(
        "Answers the challenge",
        source="RFC 9334, section 10",
        fix="ask the attester for a new quote over this nonce",
        cost="an old quote can be replayed by whoever recorded it",
    )(check_nonce)
    recipe.step(
        "PCR values",
        source="TPM 2.0 Library, part 3, section 18.4",
        fix="read the PCRs again, right after the quote; hand over exactly those that it selects",
        cost="PCR values that nobody signed would be appraised",
    )(check_pcrs)
    recipe.step(
        "Event log",
        source="TCG PC Client Platform Firmware Profile, section 10.2",
        fix="hand over the whole log of this boot (/sys/kernel/security/tpm0/binary_bios_measurements)",
        cost="events that were never measured would be believed",
    )(check_log)
