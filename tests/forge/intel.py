"""A forged Intel: root, PCK, TCB signing, collateral, and SGX and TDX quotes of every version under them.

    forge = IntelForge()
    quote = forge.sgx_quote()                       # bytes, genuine but for the root
    forge.anchors, forge.endorsements()             # what verifies it, at NOW

Every part can be changed by keyword; what is changed after signing is for the caller to patch in the bytes.
"""

import hmac
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.x509 import NOW, Authority, ec_key, issue, revocation_list, spki

from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors import intel_platform, intel_signing, intel_statements
from cloister.emulate.vendors.intel_platform import SGX_EXTENSIONS, TEE_TCB_SVN
from cloister.emulate.vendors.intel_quoting import INTEL_QE
from cloister.emulate.vendors.intel_reports import SgxReport, TdxReport
from cloister.emulate.vendors.intel_signing import point, raw_signature
from cloister.emulate.vendors.intel_statements import Level, stamp
from cloister.emulate.vendors.x509 import armoured
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.evidence.dcap import Quote, QuoteHeader, QuoteSignature, SgxReportBody
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.tdx import TdReport10, TdReport15, TdxQuote
from cloister.measure.tdx import TdInfo, TeeTcbInfo
from cloister.model import Tee

__all__ = [
    "ANSWERED",
    "DEBUG_SGX",
    "DEBUG_TD",
    "FMSPC",
    "IntelForge",
    "Platform",
    "point",
    "raw_signature",
    "sgx_machine_report",
    "sgx_verified",
    "stamp",
    "td_machine_report",
    "td_verified",
]

FMSPC = bytes.fromhex("00a06f010203")
PRODUCTION_SGX = bytes.fromhex("05000000000000000300000000000000")
DEBUG_SGX = bytes.fromhex("07000000000000000300000000000000")
PRODUCTION_TD = bytes.fromhex("0000001000000000")
DEBUG_TD = bytes.fromhex("0100001000000000")
MONTH = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Platform(intel_platform.Platform):
    """What a forged PCK certificate says."""

    fmspc: bytes = FMSPC


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
        extension = (SGX_EXTENSIONS, self.platform.extension(bytes(16)), False)
        name = changes.pop("name", "Forged Intel SGX PCK Certificate")
        issuer = changes.pop("issuer", self.pck_ca)
        return issue(name, self.pck_key.public_key(), issuer, extensions=[extension], **changes)

    # ------------------------------------------------------------ collateral

    def tcb_info(self, tee: Tee = Tee.SGX, *, status: str = "UpToDate", version: int = 3, **changes: Any) -> bytes:
        """A TCB info text with one level, which this platform reaches, and one far below."""
        known = ["INTEL-SA-00001"] if status != "UpToDate" else []
        levels = [
            Level(components=self.platform.components, pcesvn=11, status=status, advisories=known),
            Level(components=(1,) * 4 + (0,) * 12, pcesvn=1, status="OutOfDate", advisories=["INTEL-SA-00002"]),
        ]
        members = intel_statements.tcb_info(tee, self.platform, levels, at=self.now - MONTH / 2)
        if version == 2:
            del members["id"]
            members |= {"version": 2, "tcbLevels": [in_version_2(one) for one in members["tcbLevels"]]}
        return json.dumps(members | {"version": version} | changes).encode()

    def qe_identity(self, tee: Tee = Tee.SGX, *, status: str = "UpToDate", **changes: Any) -> bytes:
        """A QE identity text."""
        members = intel_statements.qe_identity(tee, at=self.now - MONTH / 2, status=status)
        return json.dumps(members | changes).encode()

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
        report = intel_signing.qe_report(tee, self.attestation_key, auth=auth)
        values = {name: value for name, value in report.fields() if not name.startswith("reserved")}
        return SgxReportBody(**values | changes)

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


def in_version_2(level: dict[str, Any]) -> dict[str, Any]:
    """A TCB level as it was written before version 3."""
    components = {f"sgxtcbcomp{i:02}svn": one["svn"] for i, one in enumerate(level["tcb"]["sgxtcbcomponents"], 1)}
    return level | {"tcb": components | {"pcesvn": level["tcb"]["pcesvn"]}}


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
    return armoured(certificate.encoded)


EMPTY = QuoteSignature(
    signature=bytes(64), attestation_key=bytes(64), qe_report=enclave_report(), qe_report_signature=bytes(64),
    qe_auth_data=b"", certification_type=5, certification_data=b"",
)  # fmt: skip


# ---------------------------------------------------------------- reports, as a machine makes them for quoting enclaves

ANSWERED = b"a nonce of the relying party"
"""What stands in the report data of reports of this machine."""
MACHINE = b"the key that only this machine has"
"""Stands for the machine's report key: a test may know it."""


def sgx_machine_report(**changes: Any) -> bytes:
    """A REPORT of this machine. Its MAC is not Intel's CMAC: quoting asks the machine, it does not look."""
    values = {"mrenclave": bytes(range(32)), "isvprodid": 7, "report_data": ANSWERED.ljust(64, b"\0")}
    body = enclave_report(**values | changes)
    return SgxReport(body=body, keyid=bytes(32), mac=mac(body.serialize())[:16]).serialize()


def td_machine_report(**changes: Any) -> bytes:
    """A TDREPORT of this machine."""
    empty = {name: bytes(48) for name in ("mrconfigid", "mrowner", "mrownerconfig", "servtd_hash")}
    rtmrs = {f"rtmr{i}": bytes([i]) * 48 for i in range(4)}
    td = TdInfo(**{"attributes": bytes(8), "xfam": bytes(8), "mrtd": bytes(range(48))} | empty | rtmrs | changes)
    tcb = TeeTcbInfo(
        valid=0x301FF, tee_tcb_svn=TEE_TCB_SVN, mrseam=b"\x5e" * 48, mrsignerseam=bytes(48), attributes=bytes(8),
        tee_tcb_svn2=TEE_TCB_SVN,
    )  # fmt: skip
    return TdxReport.made(
        cpusvn=intel_platform.SERVER.cpusvn,
        report_data=ANSWERED.ljust(64, b"\0"),
        tee_tcb_info=tcb,
        td_info=td,
        mac=mac,
    ).serialize()


def mac(message: bytes) -> bytes:
    return hmac.digest(MACHINE, message, "sha256")


def sgx_verified(report: bytes) -> bool:
    return hmac.compare_digest(mac(report[:384])[:16], report[416:])


def td_verified(report: bytes) -> bool:
    return hmac.compare_digest(mac(report[:224]), report[224:256])
