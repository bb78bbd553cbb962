"""Others that verify the same evidence, where their packages are installed; and what one would write by hand."""

import hashlib
import importlib
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from typing import Any, Final

import cbor2
from benchmarks.verify.subject import Contender, Item, Work, absentee
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509 import load_der_x509_certificate

from cloister._x509 import Certificate
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements

__all__ = ["TINFOIL_FORGED", "dcap_qvl", "plain_cca", "tinfoil"]

DCAP_QVL: Final = "dcap-qvl"
TINFOIL: Final = "tinfoil"
TINFOIL_FORGED: Final = absentee(
    TINFOIL, "it knows AMD's own Genoa root only, so it cannot verify forged reports: see --samples"
)


def absent(package: str, version: str) -> str:
    """Why a package cannot run here; empty if it can."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"not installed: pip install {package}=={version}"
    return ""


def dcap_qvl(collateral: IntelCollateral, root: Certificate, at: datetime) -> Contender:
    """Phala's verifier in Rust: quote, collateral and root as bytes, everything checked anew every time."""
    missing = absent(DCAP_QVL, "0.7.0")
    if missing:
        return absentee(DCAP_QVL, missing)
    library: Any = importlib.import_module("dcap_qvl")
    bundle, root_der, now = as_dcap_qvl(library, collateral), root.encoded, int(at.timestamp())

    def start(items: Sequence[Item]) -> Work:
        received, verify = [bytes(bytearray(one.data)) for one in items], library.verify_with_root_ca

        def work() -> None:
            for data in received:
                verify(data, bundle, root_der, now)

        return work

    return Contender(name=f"{DCAP_QVL} {metadata.version(DCAP_QVL)}", start=start)


def as_dcap_qvl(library: Any, collateral: IntelCollateral) -> Any:  # noqa: ANN401 - the package has no types
    """Collateral as that library takes it: the list of the PCK's authority is the one that is not the root's."""
    root_list = next(one for one in collateral.crls if is_roots(one.issuer, collateral))
    pck_list = next(one for one in collateral.crls if one is not root_list)
    return library.QuoteCollateralV3(
        pck_crl_issuer_chain="", root_ca_crl=root_list.encoded, pck_crl=pck_list.encoded,
        tcb_info_issuer_chain=pem(collateral.tcb_info_chain), tcb_info=collateral.tcb_info.decode(),
        tcb_info_signature=collateral.tcb_info_signature,
        qe_identity_issuer_chain=pem(collateral.qe_identity_chain), qe_identity=collateral.qe_identity.decode(),
        qe_identity_signature=collateral.qe_identity_signature,
    )  # fmt: skip


def is_roots(issuer: bytes, collateral: IntelCollateral) -> bool:
    """Whether this is the name of the root above the statements."""
    return any(one.subject == issuer and one.issuer == issuer for one in collateral.tcb_info_chain)


def pem(certificates: Sequence[Certificate]) -> str:
    """Certificates in PEM, one after the other."""
    return "".join(load_der_x509_certificate(one.encoded).public_bytes(Encoding.PEM).decode() for one in certificates)


def tinfoil(endorsements: Endorsements) -> Contender:
    """Tinfoil's verifier in Python, for AMD's own Genoa root: report and VCEK as bytes, revocation not looked at."""
    missing = absent(TINFOIL, "0.15.0")
    if missing:
        return absentee(TINFOIL, missing)
    abi: Any = importlib.import_module("tinfoil.attestation.abi_sev")
    library: Any = importlib.import_module("tinfoil.attestation.verify_sev")
    vcek = endorsements.certificates[0].encoded

    def start(items: Sequence[Item]) -> Work:
        received = [bytes(bytearray(one.data)) for one in items]

        def work() -> None:
            for data in received:
                report = abi.Report(data)
                if not library.verify_attestation(library.CertificateChain.from_report(report, vcek_der=vcek), report):
                    raise ValueError("tinfoil refused the report")

        return work

    return Contender(name=f"{TINFOIL} {metadata.version(TINFOIL)}", start=start)


P384: Final = ec.ECDSA(hashes.SHA384())


def plain_cca(platform_spki: bytes) -> Contender:
    """A verifier written by hand on cbor2 and cryptography: signatures, binding and nonce, nothing else looked at."""
    platform_key = load_der_public_key(platform_spki)

    def start(items: Sequence[Item]) -> Work:
        received = [(bytes(bytearray(one.data)), one.challenge) for one in items]

        def work() -> None:
            for data, challenge in received:
                claims = verified_by_hand(data, platform_key)
                if claims[10].rstrip(b"\0") != getattr(challenge, "nonce", claims[10]).rstrip(b"\0"):
                    raise ValueError("the token is not fresh")

        return work

    return Contender(name="plain cbor2 and cryptography", start=start)


def verified_by_hand(data: bytes, platform_key: Any) -> Any:  # noqa: ANN401 - decoded CBOR
    """The realm's claims of a token in a CMW collection or in an EAT collection."""
    members = cbor2.loads(data).value
    tokens = [members[label] for label in (44234, 44241)]
    platform, realm = (cbor2.loads(one if isinstance(one, bytes) else one[1]).value for one in tokens)
    check_sign1(platform, platform_key)
    said, claims = cbor2.loads(platform[2]), cbor2.loads(realm[2])
    hash_name = claims[44240].replace("-", "")
    if hashlib.new(hash_name, claims[44237]).digest() != said[10]:
        raise ValueError("the tokens do not belong together")
    point = claims[44237]
    if 265 in claims:
        key = cbor2.loads(point)
        point = b"\x04" + key[-2] + key[-3]
    check_sign1(realm, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point))
    return claims


def check_sign1(message: Any, key: Any) -> None:  # noqa: ANN401 - decoded CBOR, a key of some kind
    """Verify an ES384 COSE_Sign1."""
    protected, _, payload, raw = message
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    key.verify(encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:])), signed, P384)
