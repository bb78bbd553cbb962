"""SGX and TDX quotes of a forged Intel, with revocation lists as complete as Intel's: one peer insists on that."""

from datetime import timedelta

from benchmarks.verify import checks, peers
from benchmarks.verify.making import answering, settings
from benchmarks.verify.subject import Subject, items_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from tests.forge.intel import IntelForge, enclave_report, td_report
from tests.forge.x509 import NOW, Authority

from cloister._x509 import Crl
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.evidence import sgx, tdx
from cloister.evidence.tdx import TdReport10
from cloister.model import Tee
from cloister.verification import sgx as verify_sgx
from cloister.verification import tdx as verify_tdx

__all__ = ["sgx_quotes", "tdx_quotes"]

MONTH = timedelta(days=30)


def collateral(forge: IntelForge, tee: Tee) -> IntelCollateral:
    """The forge's bundle, with these lists."""
    return forge.collateral(tee, crls=(revocation_list(forge.root), revocation_list(forge.pck_ca)))


def revocation_list(issuer: Authority) -> Crl:
    """An empty list with its number and its issuer's key identifier (RFC 5280, section 5.2)."""
    key = issuer.key.public_key()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(NOW - MONTH)
        .next_update(NOW + MONTH)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
    )
    return Crl.parse(builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def sgx_quotes(count: int, version: int) -> Subject:
    """SGX quotes."""
    forge = IntelForge()
    bundle = collateral(forge, Tee.SGX)

    def make(nonce: bytes) -> bytes:
        return forge.sgx_quote(version=version, body=enclave_report(mrenclave=bytes(range(32)), report_data=nonce))

    return Subject(
        name=f"SGX quote, version {version}", limit="2 ECDSA P-256", goal=0.78,
        items=items_of(answering(count, make), sgx.parse, checks.quote), parse=sgx.parse, verify=verify_sgx.verify,
        peers=(peers.dcap_qvl(bundle, forge.root.certificate, NOW),),
        **settings(Tee.SGX, forge.anchors, Endorsements(intel=(bundle,))),
    )  # fmt: skip


def tdx_quotes(count: int, version: int, body: type[TdReport10]) -> Subject:
    """TDX quotes."""
    forge = IntelForge()
    bundle = collateral(forge, Tee.TDX)
    attributes = bytes.fromhex("0000001000000000")  # SEPT_VE_DISABLE: the peer insists on it

    def make(nonce: bytes) -> bytes:
        return forge.tdx_quote(version=version, body=td_report(body, report_data=nonce, tdattributes=attributes))

    return Subject(
        name=f"TDX quote, version {version}", limit="2 ECDSA P-256", goal=0.78,
        items=items_of(answering(count, make), tdx.parse, checks.quote), parse=tdx.parse, verify=verify_tdx.verify,
        peers=(peers.dcap_qvl(bundle, forge.root.certificate, NOW),),
        **settings(Tee.TDX, forge.anchors, Endorsements(intel=(bundle,))),
    )  # fmt: skip
