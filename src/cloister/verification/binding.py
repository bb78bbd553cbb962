"""Verifying what must hold between the parts of an envelope: that the evidence speaks of the key or data beside it.

    1  the certificate or request is signed with the key that it shows
    2  the key, or the claims that name it, or the data stand in the report data, followed by zeros
    3  the certificate's dates; reported, because a certificate that signs itself may claim any

The report data must come from evidence that was verified. Not checked: that the peer of a connection holds the key
(TLS does that), and that a certificate signed by somebody else leads anywhere.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister import _crypto
from cloister._der import BIT_STRING, Der
from cloister._x509 import Certificate
from cloister.envelope import Binding, ClaimsBinding, DataBinding, KeyBinding, KeyForm
from cloister.errors import BindingInvalid, ParseError, SignatureInvalid
from cloister.model import Unchecked
from cloister.verification.chains import signature_holds
from cloister.verification.recipe import Check, Compared, Outcome, Recipe

__all__ = ["RECIPE", "check_binding", "verify_binding"]

CCC: Final = "CCC interoperable RA-TLS, evidence formats"
RECIPE: Final = Recipe["Case"]("BINDING")


@dataclass(slots=True)
class Case:
    """A binding while it is being checked. `report_data` is the verified evidence's."""

    binding: Binding
    report_data: bytes
    at: datetime


@RECIPE.step(
    "the certificate is signed with its own key",
    source="RFC 5280, section 4.1.1.3; RFC 2986, section 4.2",
    fix="have the attester make its certificate again",
    cost="whoever presents it may not hold the key, and may have changed everything in it except the evidence",
)
def own_signature(case: Case) -> Outcome:
    """The signature that proves that whoever made it had the key."""
    if isinstance(case.binding, DataBinding):
        return Unchecked("there is no certificate: the evidence speaks of data")
    holder = case.binding.holder
    if isinstance(holder, Certificate) and holder.issuer != holder.subject:
        return Unchecked(
            "the certificate is signed by somebody else; what matters is that its key stands in the evidence"
        )
    if not signature_holds(holder.tbs, holder.algorithm, holder.signature, holder.spki):
        raise SignatureInvalid(
            "the certificate with the evidence is not signed with its own key", expected="its own signature"
        )
    return Compared("signed with its own key", "the signature verifies")


@RECIPE.step(
    "the evidence speaks of this key or data",
    source=CCC,
    fix="connect to the attester itself: the evidence was made for another key than the one that is presented",
    cost="anybody can put genuine evidence of some enclave beside his own key, and read what is sent to it",
)
def bound(case: Case) -> Outcome:
    """The comparison with the report data."""
    return check_binding(case.binding, case.report_data)


@RECIPE.step(
    "the certificate's dates",
    source="RFC 5280, section 4.1.2.5",
    fix="have the attester make its certificate again",
    cost="none: the certificate says its dates about itself",
)
def dates(case: Case) -> Outcome:
    """What the certificate says."""
    holder = None if isinstance(case.binding, DataBinding) else case.binding.holder
    if not isinstance(holder, Certificate):
        return Unchecked("there is no certificate with dates")
    window = (holder.not_before, holder.not_after)
    if not window[0] <= case.at <= window[1]:
        return Unchecked(
            f"it says that it is valid from {window[0]:%Y-%m-%d} until {window[1]:%Y-%m-%d}, which proves nothing"
        )
    return Compared(window, case.at, "the certificate itself")


def check_binding(binding: Binding, report_data: bytes) -> Outcome:
    """Compare with the report data of verified evidence; BindingInvalid if they do not belong together."""
    if isinstance(binding, KeyBinding):
        return check_key(binding, report_data)
    if isinstance(binding, ClaimsBinding):
        return check_claims(binding, report_data)
    value = hashlib.new(binding.algorithm, binding.data).digest() if binding.algorithm else binding.data
    return compared([value], report_data, binding.what)


def check_key(binding: KeyBinding, report_data: bytes) -> Outcome:
    """The hash of the key in one of the forms that this kind of certificate may have."""
    spki = binding.holder.spki
    hashes = [hashlib.new(binding.algorithm, written(spki, form)).digest() for form in binding.forms]
    return compared(hashes, report_data, "the public key beside the evidence")


def check_claims(binding: ClaimsBinding, report_data: bytes) -> Outcome:
    """First that the evidence speaks of these claims, then that the claims name this key."""
    compared([hashlib.sha256(binding.claims).digest()], report_data, "the claims beside the evidence")
    said, digest = binding.key_digest, hashlib.new(binding.key_digest.algorithm, binding.holder.spki).digest()
    if not _crypto.equal(digest, said.value):
        raise BindingInvalid(
            "the claims in the evidence name another key than the certificate's",
            expected=digest, actual=said.value, set_by="the claim pubkey-hash",
        )  # fmt: skip
    return Compared(digest, said.value, "the claim pubkey-hash")


def compared(values: list[bytes], report_data: bytes, what: str) -> Outcome:
    """One of `values`, followed by zeros only, is the report data. No part of it may be left over."""
    for value in values:
        if (
            value
            and len(value) <= len(report_data)
            and _crypto.equal(value.ljust(len(report_data), b"\0"), report_data)
        ):
            return Compared(value, report_data, what)
    raise BindingInvalid(f"the evidence does not speak of {what}", expected=values, actual=report_data, set_by=what)


def written(spki: bytes, form: KeyForm) -> bytes:
    """A public key in the form that is hashed."""
    if form is KeyForm.SPKI:
        return spki
    if form is KeyForm.BARE:
        return bare(spki)
    lines = base64.b64encode(spki).decode("ascii")
    wrapped = "".join(f"{lines[i : i + 64]}\n" for i in range(0, len(lines), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{wrapped}-----END PUBLIC KEY-----\n\0".encode("ascii")


def bare(spki: bytes) -> bytes:
    """What the BIT STRING of a SubjectPublicKeyInfo has inside: a point, or an RSAPublicKey."""
    try:
        inside = Der(spki, "SubjectPublicKeyInfo").inside("sequence")
        inside.whole("algorithm")
        return inside.element("subjectPublicKey", BIT_STRING)[1][1:]
    except ParseError as error:
        raise BindingInvalid(f"the public key beside the evidence cannot be read: {error}") from error


def verify_binding(binding: Binding, report_data: bytes, *, at: datetime) -> tuple[Check, ...]:
    """Follow the recipe; its checks, or BindingInvalid or SignatureInvalid with them."""
    return RECIPE.explain(RECIPE.follow(Case(binding, report_data, at)))
