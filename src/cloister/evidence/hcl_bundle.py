"""Azure evidence as Confidential Containers Trustee's attesters send it: HCL report, vTPM quote, what belongs to them.

github.com/confidential-containers/trustee, deps/verifier/src/az_snp_vtpm and az_tdx_vtpm. JSON, in these forms:

    without a version   {"quote" or "tpm_quote": {"message", "pcrs", "signature"}, "report" or "hcl_report", ...},
                        every byte a number
    version 1, 2        {"version", "tpm_quote": the same in hexadecimal digits, "hcl_report": base64url, ...}
    beside them         SNP: "vcek", PEM or base64url of DER; TDX: "td_quote", numbers or base64url

`cloister attest --guest --tpm` writes version 1 without the VCEK, which comes as collateral then.

The vTPM's key stands in the HCL report's runtime data and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister._x509 import Certificate, pem_blocks
from cloister.errors import ParseError
from cloister.evidence import hcl
from cloister.evidence.hcl import HclReport
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.evidence.tpm_key import base64url
from cloister.model import Tee

__all__ = ["HclBundle", "looks_like", "parse"]

RECORD: Final = "Azure evidence"
LONGEST: Final = 1 << 20
"""Bytes. The longest form, every byte a number, has 40 kB."""

VERSIONS: Final = {1, 2}
FORMS: Final = (
    frozenset({"quote", "report", "vcek"}),
    frozenset({"tpm_quote", "hcl_report", "td_quote"}),
    frozenset({"version", "tpm_quote", "hcl_report"}),
    frozenset({"version", "tpm_quote", "hcl_report", "vcek"}),
    frozenset({"version", "tpm_quote", "hcl_report", "td_quote"}),
)


@dataclass(frozen=True, kw_only=True)
class HclBundle:
    """`td_quote` is empty where the hardware report is SNP's; `certificates` holds the VCEK, if it came along."""

    report: HclReport
    quote: TpmQuote
    td_quote: bytes = field(default=b"", repr=False)
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)

    @property
    def hardware_evidence(self) -> bytes:
        """The SNP report or TDX quote that can be verified far from its machine."""
        return self.td_quote or self.report.hardware_report


def looks_like(data: bytes) -> bool:
    """Whether this looks like one of the JSON forms."""
    head = data[:LONGEST]
    parts = b'"pcrs"' in head and b'"message"' in head
    belongs = any(name in head for name in (b'"vcek"', b'"td_quote"', b'"hcl_report"'))
    return data[:64].lstrip()[:1] == b"{" and parts and belongs


def parse(data: bytes, *, base: int = 0) -> HclBundle:
    """Read any of the JSON forms."""
    if len(data) > LONGEST:
        raise ParseError(RECORD, "length", base, f"{len(data)} bytes; at most {LONGEST}")
    document = _json.loads(data, RECORD)
    if not isinstance(document, Mapping) or frozenset(document) not in FORMS:
        raise ParseError(RECORD, "keys", base, "are not those of any form that is known")
    version = document.get("version", 1)
    if type(version) is not int or version not in VERSIONS:
        raise ParseError(RECORD, "version", base, "is neither 1 nor 2")
    old = "quote" in document
    report = hcl.parse(octets(document, "report" if old else "hcl_report"))
    td_quote = octets(document, "td_quote") if "td_quote" in document else b""
    if (report.tee is Tee.TDX) != bool(td_quote):
        raise ParseError(
            RECORD, "td_quote", base, f"the HCL report is of {report.tee.upper()}: a TD quote must be there, or not"
        )
    return HclBundle(
        report=report,
        quote=_quote(_json.member(document, "quote" if old else "tpm_quote", RECORD)),
        td_quote=td_quote,
        certificates=(_vcek(document),) if "vcek" in document else (),
    )


def _quote(value: object) -> TpmQuote:
    if not isinstance(value, Mapping) or value.keys() != {"message", "pcrs", "signature"}:
        raise ParseError(RECORD, "quote", 0, "needs message, pcrs, signature, and nothing else")
    values = [_octets(one, "pcrs", hexadecimal=True) for one in _json.members(value, "pcrs", RECORD)]
    message, signature = (_octets(value[name], name, hexadecimal=True) for name in ("message", "signature"))
    return of_parts(message, signature, pcrs={"sha256": dict(enumerate(values))} if values else None)


def _vcek(document: Mapping[str, object]) -> Certificate:
    text = _json.text(document, "vcek", RECORD)
    if not text.startswith("-----BEGIN"):
        return Certificate.parse(_octets(text, "vcek"))
    blocks = pem_blocks(text.encode("ascii", "replace"), "CERTIFICATE")
    if len(blocks) != 1:
        raise ParseError(RECORD, "vcek", 0, f"has {len(blocks)} certificates, not one")
    return Certificate.parse(blocks[0])


def octets(document: Mapping[str, object], key: str) -> bytes:
    """The bytes under a key, in either form."""
    return _octets(_json.member(document, key, RECORD), key)


def _octets(value: object, key: str, *, hexadecimal: bool = False) -> bytes:
    """Bytes written as a list of numbers, as hexadecimal digits, or as base64url without padding."""
    try:
        if isinstance(value, list) and all(type(one) is int for one in value):
            return bytes(value)
        if isinstance(value, str) and hexadecimal:
            return bytes.fromhex(value)
    except ValueError as error:
        raise ParseError(RECORD, key, 0, f"is not bytes in a form that is known: {error}") from error
    return base64url(value, key, RECORD)
