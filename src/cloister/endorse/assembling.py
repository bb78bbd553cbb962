"""Puts Intel's statements, saved one by one, together with the chains and revocation lists in other files.

Intel's services send the certificate chain of a statement in a header, which saved files have lost; so the signer's
certificate is looked for by its name among everything that was given. Nothing is verified.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister._x509 import Certificate, Crl, common_name
from cloister.endorse.bundle import Signed
from cloister.endorse.intel import QeIdentity, TcbInfo
from cloister.endorse.needs import PCK_CAS
from cloister.endorse.piece import CERTIFICATE, Piece, armoured
from cloister.errors import UsageError
from cloister.model import Tee

__all__ = ["Statement", "assemble"]

SIGNER: Final = "SGX TCB Signing"
ROOT: Final = "SGX Root CA"
QUOTING_ENCLAVE: Final = {Tee.SGX: "QE", Tee.TDX: "TD_QE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """TCB info or a QE identity that was read from `file`."""

    file: str
    signed: Signed
    parsed: TcbInfo | QeIdentity


def assemble(statements: Sequence[Statement], pieces: Iterable[Piece]) -> list[Piece]:
    """A bundle for every TCB info and every PCK CA whose list is there; UsageError names what is missing.

    Of several certificates, lists or identities the one that was current when the TCB info was issued is taken.
    """
    contents = [one.content for one in pieces]
    certificates = [one for one in contents if isinstance(one, Certificate)]
    crls = [one for one in contents if isinstance(one, Crl)]
    made = [bundle for one in statements for bundle in _bundles(one, statements, certificates, crls)]
    if statements and not made:
        raise UsageError(f"{statements[0].file} needs the TCB info that belongs to it; import both at once")
    return made


def _bundles(
    statement: Statement, statements: Sequence[Statement], certificates: list[Certificate], crls: list[Crl]
) -> list[Piece]:
    tcb = statement.parsed
    if not isinstance(tcb, TcbInfo):
        return []
    identity = _identity(tcb, statements)
    chain = [_current(_named(certificates, name), tcb.issued) for name in (SIGNER, ROOT)]
    root_crl = _latest(crls, ROOT)
    pck_crls = [found for name in PCK_CAS if (found := _latest(crls, name)) is not None]
    missing = [
        *([] if identity else [f"the QE identity ({QUOTING_ENCLAVE[tcb.tee]})"]),
        *(f"the certificate {name!r}" for name, one in zip((SIGNER, ROOT), chain, strict=True) if one is None),
        *([] if pck_crls else ["a revocation list of a PCK CA"]),
        *([] if root_crl else [f"the revocation list of {ROOT!r}"]),
    ]
    if missing or identity is None or root_crl is None:
        raise UsageError(f"{statement.file} cannot be used without {', '.join(missing)}; import all files at once")
    pem = "".join(armoured(one.encoded, CERTIFICATE).decode() for one in chain if one is not None)
    files = " and ".join(dict.fromkeys((statement.file, identity.file)))
    return [
        Piece.of_members({
            "tcb_info": statement.signed.text, "tcb_info_signature": statement.signed.signature,
            "qe_identity": identity.signed.text, "qe_identity_signature": identity.signed.signature,
            "tcb_info_issuer_chain": pem, "qe_identity_issuer_chain": pem,
            "pck_crl": pck_crl.encoded.hex(), "root_ca_crl": root_crl.encoded.hex(),
        }).at(files, None)
        for pck_crl in pck_crls
    ]  # fmt: skip


def _identity(tcb: TcbInfo, statements: Sequence[Statement]) -> Statement | None:
    """The identity for this TEE that was issued nearest to the TCB info."""
    found = [
        one for one in statements if isinstance(one.parsed, QeIdentity) and one.parsed.id == QUOTING_ENCLAVE[tcb.tee]
    ]
    return min(found, key=lambda one: abs(one.parsed.issued - tcb.issued), default=None)


def _named(certificates: Iterable[Certificate], name: str) -> list[Certificate]:
    return [one for one in certificates if one.name.endswith(name)]


def _current(certificates: Iterable[Certificate], at: datetime) -> Certificate | None:
    return next((one for one in certificates if one.not_before <= at <= one.not_after), None)


def _latest(crls: Iterable[Crl], issuer: str) -> Crl | None:
    found = [one for one in crls if common_name(one.issuer).endswith(issuer)]
    return max(found, key=lambda one: one.this_update, default=None)
