"""The signature checks that verifying a piece of evidence cannot do without, on the crypto library alone.

Keys are loaded, signatures are in the encoding that the library takes, the signed bytes are at hand: nothing is left
but the mathematics.
"""

import functools
import hashlib
from typing import Any, Final

from benchmarks.verify.subject import Checks
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from nacl import bindings

from cloister import _cbor
from cloister.evidence.cca import CcaToken
from cloister.evidence.dcap import Quote
from cloister.evidence.keystone import KeystoneReport
from cloister.evidence.snp import Report
from cloister.evidence.software import SoftwareEvidence
from cloister.evidence.tpm import TpmQuote
from cloister.verification.dcap import pck_certificates

__all__ = ["cca_token", "keystone_report", "quote", "snp_report", "software", "tpm_quote"]

P256: Final = ec.ECDSA(hashes.SHA256())
P384: Final = ec.ECDSA(hashes.SHA384())
CURVES: Final = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
ORDER: Final = 2**252 + 27742317777372353535851937790883648493


def ecdsa(raw: bytes) -> bytes:
    """Both numbers, of equal length and big-endian, as DER."""
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


@functools.cache
def loaded(spki: bytes) -> Any:  # noqa: ANN401 - the caller knows which kind
    """A key of whatever kind."""
    return load_der_public_key(spki)


@functools.cache
def at_point(curve: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """The key at a point as SEC 1 writes it."""
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve], point)


def quote(parsed: Quote) -> Checks:
    """The PCK over the quoting enclave's report, and the attestation key over the quote."""
    part = parsed.signature
    pck = loaded(pck_certificates(part.certification_data)[0].spki)
    key = at_point("P-256", b"\x04" + part.attestation_key)
    return (
        (pck.verify, (ecdsa(part.qe_report_signature), part.signed_qe_report, P256)),
        (key.verify, (ecdsa(part.signature), parsed.signed, P256)),
    )


def snp_report(report: Report, spki: bytes) -> Checks:
    """The endorsement key over the report."""
    numbers = report.signature
    signature = encode_dss_signature(int.from_bytes(numbers.r, "little"), int.from_bytes(numbers.s, "little"))
    return ((loaded(spki).verify, (signature, report.signed, P384)),)


def cca_token(token: CcaToken, platform_spki: bytes) -> Checks:
    """The platform key over the platform token, and the realm key over the realm token."""
    realm = at_point("P-384", realm_point(token))
    return (
        (loaded(platform_spki).verify, (ecdsa(token.platform.signature), token.platform.to_be_signed(), P384)),
        (realm.verify, (ecdsa(token.realm.signature), token.realm.to_be_signed(), P384)),
    )


def realm_point(token: CcaToken) -> bytes:
    """The realm's key as SEC 1 writes it; newer tokens hold a COSE_Key."""
    claims = token.realm_claims
    if not claims.profile:
        return claims.public_key
    key: Any = _cbor.loads(claims.public_key, "COSE_Key")
    return bytes(b"\x04" + key[-2] + key[-3])


def tpm_quote(parsed: TpmQuote, spki: bytes) -> Checks:
    """The attestation key over the statement."""
    signature = parsed.signature
    assert (signature.scheme, signature.digest) == ("rsassa", "sha256")  # noqa: S101 - the only kind measured here
    return ((loaded(spki).verify, (signature.parts[0], parsed.attest.signed, padding.PKCS1v15(), hashes.SHA256())),)


def software(evidence: SoftwareEvidence, spki: bytes) -> Checks:
    """The host's key over the evidence."""
    return ((loaded(spki).verify, (evidence.signature, evidence.message.to_be_signed())),)


def keystone_report(report: KeystoneReport) -> Checks:
    """The monitor's key over the enclave's report; the device's over the monitor is the same in every report.

    No library has Ed25519 with SHA3-512: this is one hash, two multiplications and a subtraction of libsodium's.
    """
    enclave, key = report.enclave, report.monitor.public_key
    point, scalar, message = enclave.signature[:32], enclave.signature[32:], enclave.signed

    def verify() -> None:
        challenge = int.from_bytes(hashlib.sha3_512(point + key + message).digest(), "little") % ORDER
        ours = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
        theirs = bindings.crypto_scalarmult_ed25519_noclamp(challenge.to_bytes(32, "little"), key)
        if bindings.crypto_core_ed25519_sub(ours, theirs) != point:
            raise ValueError("the enclave's report does not verify")

    return ((verify, ()),)
