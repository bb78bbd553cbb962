"""The emulated Intel: its factory, its provisioning service, and the quoting enclaves of one emulated platform.

    intel = IntelManufacturer(Keystore())
    enclave = intel.sgx_quoting_enclave(verified=machine.report_verifies)
    quote = enclave.quote(report)
    intel.collateral(now)                    # what `cloister verify --endorsement` takes, good for 30 days
    intel.root_pem                           # what `cloister verify --unsafe-trust-root` takes

Certificates are as the PCK Certificate and CRL Profile has them, but for the names, which say "Emulated", and for the
distribution points of revocation lists, which would name a service that does not exist.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from cloister._x509 import Certificate
from cloister.emulate.vendors.intel_platform import SERVER, SGX_EXTENSIONS, Platform
from cloister.emulate.vendors.intel_quoting import ReportCheck, SgxQuotingEnclave, TdQuotingEnclave
from cloister.emulate.vendors.intel_signing import Credentials, raw_signature
from cloister.emulate.vendors.intel_statements import Level, qe_identity, tcb_info, written
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import (
    Authority,
    armoured,
    issue,
    key_extensions,
    p256,
    revocation_list,
    spki,
    subject,
)
from cloister.errors import UsageError
from cloister.model import Tee

__all__ = ["IntelManufacturer"]

OUTDATED: Final = Level(
    components=(1,) * 4 + (0,) * 12, pcesvn=1, status="OutOfDate", advisories=("EMULATED-SA-00002",)
)
"""Far below every emulated platform: what a list of levels looks like."""


class IntelManufacturer:
    """An Intel whose keys are in `keystore`, and one `platform` that it has made. Keys are made on first use.

    UsageError if the keystore cannot be used.
    """

    def __init__(self, keystore: Keystore, platform: Platform = SERVER) -> None:
        self.keystore, self.platform = keystore, platform
        self.root = keystore.authority("intel-root", subject("Emulated Intel SGX Root CA"), make=p256, path_length=1)
        kind = "Platform" if platform.multi_package else "Processor"
        self.pck_ca = keystore.authority(
            f"intel-pck-{kind.lower()}-ca", subject(f"Emulated Intel SGX PCK {kind} CA"), make=p256,
            issuer=self.root, path_length=0,
        )  # fmt: skip
        ppid = keystore.secret("intel-ppid", 16)
        instance = keystore.secret("intel-platform-instance", 16) if platform.multi_package else b""
        self._extension = platform.extension(ppid, instance)
        # Another TCB level has another key and certificate, as with Intel: both are kept under what they say.
        self._pck_label = f"intel-pck-{hashlib.sha256(self._extension).hexdigest()[:16]}"

    @property
    def root_pem(self) -> bytes:
        """The root certificate, to be handed out as a trust anchor for testing."""
        return armoured(self.root.certificate.encoded)

    @property
    def root_spki(self) -> bytes:
        """The root's key as DER SubjectPublicKeyInfo, which is what anchors pin."""
        return spki(self.root.key)

    def publish(self, at: datetime) -> tuple[Path, Path]:
        """Write root and collateral of that time beside the keys, for verifiers; their paths."""
        root = self.keystore.publish("intel-root.pem", self.root_pem)
        return root, self.keystore.publish("intel-collateral.json", self.collateral(at))

    # ------------------------------------------------------------ the factory

    @property
    def pck(self) -> Certificate:
        """The certificate of this platform's provisioning certification key."""
        return self._leaf(self._pck_label, "Emulated Intel SGX PCK Certificate", self.pck_ca, self._extension)

    @property
    def tcb_signer(self) -> Certificate:
        """The certificate of the key that signs statements."""
        return self._leaf("intel-tcb-signing", "Emulated Intel SGX TCB Signing", self.root)

    def _leaf(self, label: str, name: str, issuer: Authority, sgx: bytes = b"") -> Certificate:
        public = self.keystore.key(label, p256).public_key()
        extensions = key_extensions(public, issuer, ca=False)
        if sgx:
            extensions.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX_EXTENSIONS), sgx), False))
        return self.keystore.certificate(label, lambda: issue(subject(name), public, issuer, extensions=extensions))

    # ------------------------------------------------------------ the provisioning service

    def collateral(
        self,
        at: datetime,
        *,
        status: str = "UpToDate",
        advisories: Sequence[str] = (),
        revoked: Sequence[Certificate] = (),
    ) -> bytes:
        """Statements about this platform, issued at that time: a JSON list of bundles, for SGX and for TDX.

        `status` and `advisories` are what the manufacturer says of this platform's level: with `OutOfDate` and some
        advisory this is the day after a TCB recovery. `revoked` certificates are on the lists.
        """
        level = Level(
            components=self.platform.components, pcesvn=self.platform.pcesvn, status=status, advisories=advisories
        )
        tees = (Tee.SGX, Tee.TDX) if self.platform.multi_package else (Tee.SGX,)
        return json.dumps([self._bundle(tee, level, at, revoked) for tee in tees]).encode()

    def _bundle(self, tee: Tee, level: Level, at: datetime, revoked: Sequence[Certificate]) -> dict[str, Any]:
        info = written(tcb_info(tee, self.platform, [level, OUTDATED], at=at))
        identity = written(qe_identity(tee, at=at))
        chain = self._chain(self.tcb_signer, self.root.certificate).decode()
        key = self.keystore.key("intel-tcb-signing", p256)
        root_crl, pck_crl = (revocation_list(one, _issued(one, revoked), at=at) for one in (self.root, self.pck_ca))
        return {
            "tcb_info": info.decode(), "tcb_info_signature": raw_signature(key, info).hex(),
            "tcb_info_issuer_chain": chain,
            "qe_identity": identity.decode(), "qe_identity_signature": raw_signature(key, identity).hex(),
            "qe_identity_issuer_chain": chain,
            "pck_crl": pck_crl.encoded.hex(), "root_ca_crl": root_crl.encoded.hex(),
            "pck_crl_issuer_chain": self._chain(self.pck_ca.certificate, self.root.certificate).decode(),
        }  # fmt: skip

    # ------------------------------------------------------------ the platform

    def sgx_quoting_enclave(self, *, verified: ReportCheck) -> SgxQuotingEnclave:
        """This platform's quoting enclave. `verified` says whether a REPORT carries the MAC that this machine gives."""
        return SgxQuotingEnclave(credentials=self._credentials("intel-attestation-qe"), verified=verified)

    def td_quoting_enclave(self, *, verified: ReportCheck) -> TdQuotingEnclave:
        """This platform's quoting enclave for TDs. `verified` says the same of a TDREPORT.

        UsageError if the platform is one of the client processors, which have no TDX.
        """
        if not self.platform.multi_package:
            raise UsageError(
                f"the emulated platform {self.platform.fmspc.hex()} is a client processor, which has no TDX; emulate a"
                " server"
            )
        return TdQuotingEnclave(credentials=self._credentials("intel-attestation-td-qe"), verified=verified)

    def _credentials(self, attestation: str) -> Credentials:
        chain = self._chain(self.pck, self.pck_ca.certificate, self.root.certificate)
        return Credentials(
            attestation=self.keystore.key(attestation, p256), pck=self.keystore.key(self._pck_label, p256),
            chain=chain + b"\0",  # real quotes have the NUL of a C string there
            cpusvn=self.platform.cpusvn, pcesvn=self.platform.pcesvn, qe_id=self.keystore.secret("intel-qe-id", 16),
        )  # fmt: skip

    @staticmethod
    def _chain(*certificates: Certificate) -> bytes:
        return b"".join(armoured(one.encoded) for one in certificates)


def _issued(issuer: Authority, certificates: Sequence[Certificate]) -> list[Certificate]:
    return [one for one in certificates if one.issuer == issuer.certificate.subject]
