"""Intel's Provisioning Certification Service, version 4, and caching services (PCCS) that speak the same API.

Intel PCS API documentation (api.portal.trustedservices.intel.com), "Get TCB Info V4", "Get Quoting Enclave Identity",
"Get PCK CRL"; the root's revocation list is at the distribution point that Intel's certificates name.
"""

import binascii
from typing import Final
from urllib.parse import unquote

from cloister._x509 import pem_blocks
from cloister.endorse.bundle import Signed, signed_member
from cloister.endorse.fetch import Fetched, Fetcher
from cloister.endorse.needs import IntelRequest
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.errors import EndorsementUnavailable, ParseError, UsageError
from cloister.model import Tee

__all__ = ["PCS", "ROOT_CRL", "UPDATES", "fetch_intel"]

PCS: Final = "https://api.trustedservices.intel.com"
ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
UPDATES: Final = ("early", "standard")
"""`early` has new TCB requirements on the day they are published, `standard` about a year later."""
CHAIN_HEADERS: Final = {
    "tcb": ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"),
    "identity": ("sgx-enclave-identity-issuer-chain",),
    "crl": ("sgx-pck-crl-issuer-chain",),
}
"""Where each answer's certificate chain is, newest name first."""


def fetch_intel(fetcher: Fetcher, request: IntelRequest, *, url: str = PCS, update: str = "early") -> Piece:
    """Everything that a quote of this platform family needs, as one bundle.

    At `url` other than Intel's, a caching service is expected, which has the root's revocation list too.
    """
    base, kind = url.rstrip("/"), "tdx" if request.tee is Tee.TDX else "sgx"
    tcb = fetcher.get(
        f"{base}/{kind}/certification/v4/tcb?fmspc={fmspc_of(request.fmspc)}&update={update}",
        absent=f"no {kind.upper()} platform family has FMSPC {request.fmspc}; pre-production ones are not published",
    )
    identity = fetcher.get(f"{base}/{kind}/certification/v4/qe/identity?update={update}")
    crl = fetcher.get(f"{base}/sgx/certification/v4/pckcrl?ca={request.ca}&encoding=der")
    root = fetcher.get(ROOT_CRL if base == PCS else f"{base}/sgx/certification/v4/rootcacrl")
    tcb_signed, identity_signed = _signed(tcb, "tcbInfo"), _signed(identity, "enclaveIdentity")
    members = {
        "tcb_info": tcb_signed.text, "tcb_info_signature": tcb_signed.signature,
        "tcb_info_issuer_chain": _chain(tcb, "tcb"),
        "qe_identity": identity_signed.text, "qe_identity_signature": identity_signed.signature,
        "qe_identity_issuer_chain": _chain(identity, "identity"),
        "pck_crl": _crl(crl).hex(), "pck_crl_issuer_chain": _chain(crl, "crl"), "root_ca_crl": _crl(root).hex(),
    }  # fmt: skip
    try:
        piece = Piece.of_members(members)
    except ParseError as error:
        raise _useless(tcb, error) from error
    return _asked_for(piece, request, tcb)


def _asked_for(piece: Piece, request: IntelRequest, tcb: Fetched) -> Piece:
    """Refuse statements about another platform: kept, they would look like what was asked for."""
    found = getattr(piece.content, "tcb", None)
    if found is None or found.tee is not request.tee or found.fmspc.hex() != request.fmspc.lower():
        raise EndorsementUnavailable(f"{tcb.url}: the answer is about another platform family; check --url")
    return piece.at(tcb.url, None)


def fmspc_of(text: str) -> str:
    """An FMSPC as the service wants it; UsageError if it is none."""
    if len(text) != 12 or not all(one in "0123456789abcdefABCDEF" for one in text):
        raise UsageError(f"{text!r} is not an FMSPC; it has 12 hexadecimal digits, like 00606A000000")
    return text.upper()


def _signed(answer: Fetched, key: str) -> Signed:
    try:
        return signed_member(answer.body.decode(), key)
    except (ParseError, UnicodeDecodeError) as error:
        raise _useless(answer, error) from error


def _chain(answer: Fetched, kind: str) -> str:
    """The PEM chain in a header, where it is percent-encoded."""
    for name in CHAIN_HEADERS[kind]:
        chain = unquote(answer.headers.get(name, ""), errors="replace")
        try:
            if pem_blocks(chain.encode(), CERTIFICATE):
                return chain
        except ParseError as error:
            raise _useless(answer, error) from error
    raise EndorsementUnavailable(f"{answer.url}: the answer has no certificate chain in its headers; check --url")


def _crl(answer: Fetched) -> bytes:
    """A revocation list in DER. Caching services also hand it out in hexadecimal or PEM."""
    body = answer.body.strip()
    try:
        if body.startswith(b"-----"):
            der = pem_blocks(body, CRL)[0]
        else:
            der = answer.body if body.startswith(b"\x30") and not _is_hexadecimal(body) else binascii.unhexlify(body)
        Piece.of_der(der, CRL)
    except (ParseError, ValueError, IndexError) as error:
        raise _useless(answer, error) from error
    return der


def _is_hexadecimal(body: bytes) -> bool:
    """Whether this is text: DER begins with the digit 0 (0x30) too, but never goes on in digits only."""
    return all(one in b"0123456789abcdefABCDEF" for one in body[:64])


def _useless(answer: Fetched, error: Exception) -> EndorsementUnavailable:
    return EndorsementUnavailable(f"{answer.url}: the answer is not what this service publishes ({error}); check --url")
