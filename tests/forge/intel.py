"""A forged Intel: root, PCK, TCB signing, collateral, and SGX and TDX quotes of every version under them.

    forge = IntelForge()
    quote = forge.sgx_quote()                       # bytes, genuine but for the root
    forge.anchors, forge.endorsements()             # what verifies it, at NOW

Every part can be changed by keyword; what is changed after signing is for the caller to patch in the bytes.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509 import ObjectIdentifier
from tests.forge.x509 import NOW, Authority, der_of, ec_key, issue, revocation_list, spki

from cloister._x509 import Certificate, Crl
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.evidence.dcap import Quote, QuoteHeader, QuoteSignature, SgxReportBody
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.tdx import TdReport10, TdReport15, TdxQuote
from cloister.model import Tee

__all__ = ["DEBUG_SGX", "DEBUG_TD", "FMSPC", "IntelForge", "Platform", "point", "raw_signature"]

FMSPC = bytes.fromhex("00a06f010203")
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_SIGNER = hashlib.sha256(b"a quoting enclave's signer").digest()
PRODUCTION_SGX = bytes.fromhex("05000000000000000300000000000000")
DEBUG_SGX = bytes.fromhex("07000000000000000300000000000000")
PRODUCTION_TD = bytes.fromhex("0000001000000000")
DEBUG_TD = bytes.fromhex("0100001000000000")
SGX_ARC = "1.2.840.113741.1.13.1"
MONTH = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a forged PCK certificate says."""

    fmspc: bytes = FMSPC
    pce_id: bytes = b"\0\0"
    components: tuple[int, ...] = (5, 5, 2, 2, 3, 1, 0, 3, *(8 * (0,)))
    pcesvn: int = 11

    def extension(self) -> bytes:
        """The SGX extensions in DER (PCK Certificate and CRL Profile, section 1.3.5)."""
        svns = [*self.components, self.pcesvn]
        tcb = [_pair(f"2.{i}", der_of(2, bytes([0, svn] if svn > 127 else [svn]))) for i, svn in enumerate(svns, 1)]
        tcb.append(_pair("2.18", der_of(4, bytes(self.components))))
        return der_of(
            0x30,
            _pair("1", der_of(4, bytes(16))),
            _pair("2", der_of(0x30, *tcb)),
            _pair("3", der_of(4, self.pce_id)),
            _pair("4", der_of(4, self.fmspc)),
            _pair("5", der_of(10, b"\x01")),
        )


def _pair(arc: str, value: bytes) -> bytes:
    return der_of(0x30, _oid(f"{SGX_ARC}.{arc}"), value)


def _oid(dotted: str) -> bytes:
    ObjectIdentifier(dotted)  # the library's own check of the form
    first, second, *arcs = map(int, dotted.split("."))
    content = bytearray()
    for arc in [40 * first + second, *arcs]:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return der_of(6, bytes(content))


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Both numbers, 32 bytes each, as Intel writes them."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Both coordinates of a key, 32 bytes each."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


@dataclass(kw_only=True)
class IntelForge:
    """Keys and certificates of a forged Intel and one platform."""

    platform: Platform = field(default_factory=Platform)
    now: datetime = NOW

    def __post_init__(self) -> None:
        """Make the keys and certificates."""
        self.root = Authority("Forged SGX Root CA")
        self.pck_ca = Authority("Forged SGX PCK Platform CA", self.root)
        self.pck_key = ec_key()
        self.pck = self.pck_certificate()
        self.signer_key = ec_key()
        self.signer = issue("Forged SGX TCB Signing", self.signer_key.public_key(), self.root)
        self.attestation_key = ec_key()

    @property
    def anchors(self) -> TrustAnchors:
        """The forged root, as a testing anchor."""
        return TrustAnchors.testing(spki(self.root.key))

    def pck_certificate(self, **changes: Any) -> Certificate:
        """A certificate for this platform's PCK; `changes` go to `issue`."""
        extension = (SGX_ARC, self.platform.extension(), False)
        name = changes.pop("name", "Forged Intel SGX PCK Certificate")
        issuer = changes.pop("issuer", self.pck_ca)
        return issue(name, self.pck_key.public_key(), issuer, extensions=[extension], **changes)

    # ------------------------------------------------------------ collateral

    def tcb_info(self, tee: Tee = Tee.SGX, *, status: str = "UpToDate", version: int = 3, **changes: Any) -> bytes:
        """A TCB info text with one level, which this platform reaches, and one far below."""
        levels = [
            self._level(tee, version, self.platform.components, status, advisories=["INTEL-SA-00001"]),
            self._level(tee, version, (1,) * 4 + (0,) * 12, "OutOfDate", pcesvn=1, advisories=["INTEL-SA-00002"]),
        ]
        text: dict[str, Any] = {"version": version} | ({"id": tee.upper()} if version == 3 else {})
        text |= {
            "issueDate": stamp(self.now - MONTH / 2), "nextUpdate": stamp(self.now + MONTH / 2),
            "fmspc": self.platform.fmspc.hex().upper(), "pceId": self.platform.pce_id.hex(), "tcbType": 0,
            "tcbEvaluationDataNumber": 17, "tcbLevels": levels,
        }  # fmt: skip
        if tee is Tee.TDX:
            module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
            text |= {
                "tdxModule": module,
                "tdxModuleIdentities": [module | {"id": "TDX_01", "tcbLevels": MODULE_LEVELS}],
            }
        return json.dumps(text | changes).encode()

    def _level(
        self, tee: Tee, version: int, svns: tuple[int, ...], status: str, *, pcesvn: int = 11, advisories: list[str]
    ) -> dict[str, Any]:
        tcb: dict[str, Any] = {"pcesvn": pcesvn}
        if version == 2:
            tcb |= {f"sgxtcbcomp{i:02}svn": svn for i, svn in enumerate(svns, 1)}
        else:
            tcb["sgxtcbcomponents"] = [{"svn": svn} for svn in svns]
        if tee is Tee.TDX:
            tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in (4, 0, 5, *(13 * (0,)))]
        known = {"advisoryIDs": advisories} if status != "UpToDate" else {}
        return {"tcb": tcb, "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": status} | known

    def qe_identity(self, tee: Tee = Tee.SGX, *, status: str = "UpToDate", **changes: Any) -> bytes:
        """A QE identity text."""
        text = {
            "id": "TD_QE" if tee is Tee.TDX else "QE", "version": 2,
            "issueDate": stamp(self.now - MONTH / 2), "nextUpdate": stamp(self.now + MONTH / 2),
            "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": "11" + 15 * "00", "attributesMask": "FBFFFFFFFFFFFFFF" + 8 * "00",
            "mrsigner": QE_SIGNER.hex(), "isvprodid": 2 if tee is Tee.TDX else 1,
            "tcbLevels": [{"tcb": {"isvsvn": 4}, "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": status}],
        }  # fmt: skip
        return json.dumps(text | changes).encode()

    def collateral(
        self,
        tee: Tee = Tee.SGX,
        *,
        tcb_info: bytes | None = None,
        qe_identity: bytes | None = None,
        crls: tuple[Crl, ...] | None = None,
        signing_key: ec.EllipticCurvePrivateKey | None = None,
    ) -> IntelCollateral:
        """A signed bundle; the texts are the forge's own unless given."""
        tcb_info, qe_identity = tcb_info or self.tcb_info(tee), qe_identity or self.qe_identity(tee)
        key, chain = signing_key or self.signer_key, (self.signer, self.root.certificate)
        return IntelCollateral(
            tcb_info=tcb_info, tcb_info_signature=raw_signature(key, tcb_info), tcb_info_chain=chain,
            qe_identity=qe_identity, qe_identity_signature=raw_signature(key, qe_identity), qe_identity_chain=chain,
            crls=(revocation_list(self.root), revocation_list(self.pck_ca)) if crls is None else crls,
            source="forged",
        )  # fmt: skip

    def endorsements(self, tee: Tee = Tee.SGX, **changes: Any) -> Endorsements:
        """Everything that verification of this platform's quotes needs; `changes` go to `collateral`."""
        return Endorsements(intel=(self.collateral(tee, **changes),))

    # ------------------------------------------------------------ quotes

    def qe_report(self, tee: Tee = Tee.SGX, *, auth: bytes = bytes(32), **changes: Any) -> SgxReportBody:
        """The quoting enclave's report over the attestation key."""
        binding = hashlib.sha256(point(self.attestation_key) + auth).digest() + bytes(32)
        values = {
            "mrenclave": bytes(32), "mrsigner": QE_SIGNER, "attributes": bytes.fromhex("11" + 15 * "00"),
            "isvprodid": 2 if tee is Tee.TDX else 1, "isvsvn": 4, "report_data": binding,
        }  # fmt: skip
        return enclave_report(**values | changes)

    def chain_pem(self) -> bytes:
        """The PCK chain as quotes carry it, with the NUL at its end that real ones have."""
        return b"".join(pem(one) for one in (self.pck, self.pck_ca.certificate, self.root.certificate)) + b"\0"

    def sgx_quote(self, *, version: int = 3, body: SgxReportBody | None = None, **changes: Any) -> bytes:
        """An SGX quote; `changes` go to `_sign`."""
        body = body or enclave_report(mrenclave=bytes(range(32)), mrsigner=bytes(range(32, 64)), isvprodid=7, isvsvn=3)
        quote = SgxQuote(header=header(version, 0), body=body, signature=EMPTY, body_type=1 if version == 5 else 0)
        return self._sign(quote, Tee.SGX, **changes)

    def tdx_quote(self, *, version: int = 4, body: TdReport10 | None = None, **changes: Any) -> bytes:
        """A TDX quote; with `version` 5 and a TdReport15 body it is one of TDX 1.5."""
        body = body or td_report()
        kind = 0 if version == 4 else 3 if isinstance(body, TdReport15) else 2
        quote = TdxQuote(header=header(version, 0x81), body=body, signature=EMPTY, body_type=kind)
        return self._sign(quote, Tee.TDX, **changes)

    def _sign(self, quote: Quote, tee: Tee, *, qe_report: SgxReportBody | None = None, **changes: Any) -> bytes:
        auth = changes.get("qe_auth_data", bytes(32))
        report = qe_report or self.qe_report(tee, auth=auth)
        values = {
            "signature": raw_signature(self.attestation_key, quote.signed),
            "attestation_key": point(self.attestation_key), "qe_report": report,
            "qe_report_signature": raw_signature(self.pck_key, report.serialize()), "qe_auth_data": auth,
            "certification_type": 5, "certification_data": self.chain_pem(),
        }  # fmt: skip
        return replace(quote, signature=QuoteSignature(**values | changes)).serialize()


MODULE_LEVELS = [
    {"tcb": {"isvsvn": 7}, "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": "UpToDate"},
    {"tcb": {"isvsvn": 3}, "tcbDate": "2023-08-09T00:00:00Z", "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-3"]},
]  # fmt: skip


def enclave_report(**changes: Any) -> SgxReportBody:
    """A production enclave's report."""
    values: dict[str, Any] = {
        "cpusvn": bytes(16), "miscselect": 0, "isvextprodid": bytes(16), "attributes": PRODUCTION_SGX,
        "mrenclave": bytes(32), "mrsigner": bytes(32), "configid": bytes(64), "isvprodid": 0, "isvsvn": 0,
        "configsvn": 0, "isvfamilyid": bytes(16), "report_data": bytes(64),
    }  # fmt: skip
    return SgxReportBody(**values | changes)


def td_report(kind: type[TdReport10] = TdReport10, **changes: Any) -> TdReport10:
    """A production TD's report."""
    sizes = {name: field_.size for name, field_ in kind._fields.items()}
    values: dict[str, bytes] = {name: bytes(size) for name, size in sizes.items()}
    values |= {"tdattributes": PRODUCTION_TD, "mrtd": bytes(range(48)), "tee_tcb_svn": bytes([7, 1, 5, *(13 * [0])])}
    if kind is TdReport15:
        values |= {"tee_tcb_svn2": bytes([7, 1, 5, *(13 * [0])])}
    return kind(**values | changes)


def header(version: int, tee_type: int, **changes: Any) -> QuoteHeader:
    """A quote header."""
    values: dict[str, Any] = {
        "version": version, "attestation_key_type": 2, "tee_type": tee_type, "qe_svn": 9, "pce_svn": 13,
        "qe_vendor_id": INTEL_QE, "user_data": bytes(20),
    }  # fmt: skip
    return QuoteHeader(**values | changes)


def pem(certificate: Certificate) -> bytes:
    """A certificate in PEM."""
    from cryptography import x509  # noqa: PLC0415 - only here

    return x509.load_der_x509_certificate(certificate.encoded).public_bytes(serialization.Encoding.PEM)


def stamp(time: datetime) -> str:
    """A time as Intel writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


EMPTY = QuoteSignature(
    signature=bytes(64), attestation_key=bytes(64), qe_report=enclave_report(), qe_report_signature=bytes(64),
    qe_auth_data=b"", certification_type=5, certification_data=b"",
)  # fmt: skip
