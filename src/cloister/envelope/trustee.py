"""Evidence as Confidential Containers' agents send it (Trustee, deps/verifier): one JSON object, its members say whose.

    SGX   {"quote": base64}
    TDX   {"quote": base64, "cc_eventlog": base64 or null}
    SNP   {"attestation_report": fields, "cert_chain": [{"cert_type", "data"}]}
    CCA   {"token": bytes}

What its agents send from virtual TPMs on Azure is read by `cloister.evidence.hcl_bundle`. Bytes are base64, base64url
or hexadecimal text, or lists of numbers, as versions differ.
"""

from collections.abc import Mapping
from typing import Final

from cloister import _json
from cloister._x509 import Certificate, Crl
from cloister.envelope.cert_table import certificates_in
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.json_members import has, ignored, octets, optional
from cloister.envelope.snp_json import report_of
from cloister.errors import ParseError

__all__ = ["looks_like", "open_value"]

NAME: Final = "Trustee evidence"
MOST_CERTIFICATES: Final = 16


def looks_like(value: object) -> bool:
    """Whether a JSON value is one of these."""
    quote = has(value, "quote") and isinstance(value, Mapping) and isinstance(value["quote"], str)
    return quote or has(value, "attestation_report") or has(value, "token")


def open_value(value: object, opening: Opening) -> Envelope:
    """The evidence, its certificates and its event log."""
    assert isinstance(value, Mapping)  # noqa: S101 - looks_like has nothing else
    if "attestation_report" in value:
        return open_snp(value, opening)
    if "token" in value:
        token = opening.inside(octets(value["token"], NAME, "token"), f"{NAME} (CCA)")
        return join(token, Envelope(leftovers=ignored(value, NAME, "token")))
    found = opening.inside(octets(value["quote"], NAME, "quote"), NAME)
    log = opening.spend(optional(value, NAME, "cc_eventlog"))
    notes = ignored(value, NAME, "quote", "cc_eventlog")
    return join(found, Envelope(event_logs=(log,) if log else (), leftovers=notes))


def open_snp(value: Mapping[str, object], opening: Opening) -> Envelope:
    """A report that is written field by field, and the certificates of its chip."""
    step = f"{NAME} (SNP)"
    found = opening.inside(report_of(value["attestation_report"]), step)
    chain = value.get("cert_chain") or []
    if not isinstance(chain, list) or len(chain) > MOST_CERTIFICATES:
        raise ParseError(NAME, "cert_chain", 0, f"is not a list of at most {MOST_CERTIFICATES}")
    certificates: list[Certificate] = []
    crls: list[Crl] = []
    for entry in chain:
        data = opening.spend(octets(_json.member(entry, "data", NAME), NAME, "cert_chain.data", pem=True))
        if entry.get("cert_type") == "CRL":
            crls.append(Crl.parse(data))
        else:
            certificates.extend(certificates_in(data, 0))
    notes = ignored(value, NAME, "attestation_report", "cert_chain")
    return join(found, Envelope(certificates=tuple(certificates), crls=tuple(crls), leftovers=notes))
