"""Evidence of every TEE over one nonce, with what verifies it; as objects, and as the files that a user would have."""

import base64
import functools
import json
from dataclasses import dataclass
from pathlib import Path

from tests.forge import amd, arm, keystone, software, tpm
from tests.forge.intel import IntelForge, enclave_report, td_report
from tests.forge.x509 import spki

from cloister._x509 import Certificate
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.model import Tee

__all__ = ["NONCE", "Sample", "every", "write_files"]

NONCE = bytes.fromhex("c0ffee00c0ffee00c0ffee00c0ffee00")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Evidence of one TEE, and whom to believe for it. `root` is the trusted key's DER SubjectPublicKeyInfo."""

    tee: Tee
    evidence: bytes
    anchors: TrustAnchors
    endorsements: Endorsements
    root: bytes
    trust: str = "--unsafe-trust-root"
    """The option of `cloister verify` that takes the root."""


@functools.cache
def every(nonce: bytes = NONCE) -> dict[Tee, Sample]:
    """One sample for each TEE that signs evidence, valid at `tests.forge.x509.NOW`."""
    made = (
        of_sgx(nonce),
        of_tdx(nonce),
        of_snp(nonce),
        of_cca(nonce),
        of_keystone(nonce),
        of_tpm(nonce),
        of_software(nonce),
    )
    return {one.tee: one for one in made}


@functools.cache
def intel() -> IntelForge:
    """The forged Intel that SGX and TDX samples share."""
    return IntelForge()


def of_sgx(nonce: bytes) -> Sample:
    """An SGX quote, version 3."""
    forge = intel()
    body = enclave_report(
        mrenclave=bytes(range(32)),
        mrsigner=bytes(range(32, 64)),
        isvprodid=7,
        isvsvn=3,
        report_data=nonce.ljust(64, b"\0"),
    )
    return Sample(
        tee=Tee.SGX, evidence=forge.sgx_quote(body=body), anchors=forge.anchors, endorsements=forge.endorsements(),
        root=spki(forge.root.key),
    )  # fmt: skip


def of_tdx(nonce: bytes) -> Sample:
    """A TDX quote, version 4."""
    forge = intel()
    quote = forge.tdx_quote(body=td_report(report_data=nonce.ljust(64, b"\0")))
    return Sample(
        tee=Tee.TDX, evidence=quote, anchors=forge.anchors, endorsements=forge.endorsements(Tee.TDX),
        root=spki(forge.root.key),
    )  # fmt: skip


def of_snp(nonce: bytes) -> Sample:
    """An SNP report, version 3, of Milan."""
    platform = amd.platform()
    ek = platform.ek()
    report = amd.signed_report(ek, nonce=nonce)
    return Sample(
        tee=Tee.SNP, evidence=report.serialize(), anchors=platform.anchors, endorsements=platform.endorsements(ek),
        root=platform.ark.certificate.spki,
    )  # fmt: skip


def of_cca(nonce: bytes) -> Sample:
    """A CCA token, tag 907."""
    forge = arm.ArmForge()
    return Sample(
        tee=Tee.CCA, evidence=forge.token(nonce=nonce), anchors=forge.anchors, endorsements=forge.endorsements,
        root=spki(forge.platform_key), trust="--trust-key",
    )  # fmt: skip


def of_keystone(nonce: bytes) -> Sample:
    """A Keystone report."""
    forge = keystone.KeystoneForge()
    return Sample(
        tee=Tee.KEYSTONE, evidence=forge.report(nonce), anchors=forge.anchors, endorsements=forge.endorsements,
        root=forge.endorsements.keys[0], trust="--trust-key",
    )  # fmt: skip


def of_tpm(nonce: bytes) -> Sample:
    """A TPM quote with its PCRs and event log."""
    forge = tpm.TpmForge()
    return Sample(
        tee=Tee.TPM, evidence=forge.quote(nonce=nonce).serialize(), anchors=forge.anchors,
        endorsements=Endorsements(keys=(forge.spki,)), root=forge.spki, trust="--trust-key",
    )  # fmt: skip


def of_software(nonce: bytes) -> Sample:
    """Software enclave evidence."""
    forge = software.SoftwareForge()
    return Sample(
        tee=Tee.SOFTWARE, evidence=forge.evidence(nonce), anchors=forge.anchors, endorsements=forge.endorsements,
        root=forge.spki, trust="--trust-host-key",
    )  # fmt: skip


def write_files(directory: Path, nonce: bytes = NONCE) -> None:
    """`sgx.bin`, `sgx-root.pem`, `sgx-collateral.json` and so on: evidence, key to trust, endorsements."""
    for tee, sample in every(nonce).items():
        (directory / f"{tee}.bin").write_bytes(sample.evidence)
        (directory / f"{tee}-root.pem").write_bytes(armoured(sample.root, "PUBLIC KEY"))
        for bundle in sample.endorsements.intel:
            (directory / f"{tee}-collateral.json").write_text(json.dumps(members(bundle)))
        certificates = b"".join(armoured(one.encoded, "CERTIFICATE") for one in sample.endorsements.certificates)
        lists = b"".join(armoured(one.encoded, "X509 CRL") for one in sample.endorsements.crls)
        if certificates or lists:
            (directory / f"{tee}-certificates.pem").write_bytes(certificates + lists)


def members(bundle: IntelCollateral) -> dict[str, str]:
    """A bundle as quote verification tools exchange it."""
    root_list, pck_list = bundle.crls
    return {
        "tcb_info": bundle.tcb_info.decode(), "tcb_info_signature": bundle.tcb_info_signature.hex(),
        "tcb_info_issuer_chain": chain(bundle.tcb_info_chain),
        "qe_identity": bundle.qe_identity.decode(), "qe_identity_signature": bundle.qe_identity_signature.hex(),
        "qe_identity_issuer_chain": chain(bundle.qe_identity_chain), "pck_crl_issuer_chain": "",
        "pck_crl": pck_list.encoded.hex(), "root_ca_crl": root_list.encoded.hex(),
    }  # fmt: skip


def chain(certificates: tuple[Certificate, ...]) -> str:
    """Certificates in PEM, one after the other."""
    return b"".join(armoured(one.encoded, "CERTIFICATE") for one in certificates).decode()


def armoured(der: bytes, label: str) -> bytes:
    """PEM."""
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])
