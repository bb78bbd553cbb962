"""Subjects from the test suite's forges: genuine but for the roots, so they work everywhere.

Every piece of a subject's evidence is from one platform, answers a nonce of its own, and is signed by itself.
"""

from collections.abc import Callable

from benchmarks.verify import checks, peers
from benchmarks.verify.forged_intel import sgx_quotes, tdx_quotes
from benchmarks.verify.making import answering, settings
from benchmarks.verify.subject import Subject, items_of
from tests.forge import amd, arm, keystone, software, tpm

from cloister.endorse.store import Endorsements
from cloister.evidence import cca, snp
from cloister.evidence import keystone as keystone_evidence
from cloister.evidence import software as software_evidence
from cloister.evidence import tpm as tpm_evidence
from cloister.evidence.tdx import TdReport10, TdReport15
from cloister.evidence.tpm_attest import sized
from cloister.model import Tee
from cloister.verification import cca as verify_cca
from cloister.verification import keystone as verify_keystone
from cloister.verification import snp as verify_snp
from cloister.verification import software as verify_software
from cloister.verification import tpm as verify_tpm

__all__ = ["FORGED"]


def snp_reports(count: int) -> Subject:
    """SNP reports, version 3, signed with a VCEK."""
    platform = amd.platform()
    ek = platform.ek()
    evidence = answering(count, lambda nonce: amd.signed_report(ek, nonce=nonce).serialize())
    return Subject(
        name="SNP report, VCEK", limit="1 ECDSA P-384", goal=0.85,
        items=items_of(evidence, snp.parse, lambda report: checks.snp_report(report, ek.certificate.spki)),
        parse=snp.parse, verify=verify_snp.verify, peers=(peers.TINFOIL_FORGED,),
        **settings(Tee.SNP, platform.anchors, platform.endorsements(ek)),
    )  # fmt: skip


def cca_tokens(count: int) -> Subject:
    """CCA tokens, both parts signed anew."""
    forge = arm.ArmForge()
    (key,) = forge.endorsements.keys
    return Subject(
        name="CCA token", limit="2 ECDSA P-384", goal=0.87,
        items=items_of(
            answering(count, lambda nonce: forge.token(nonce=nonce)), cca.parse,
            lambda token: checks.cca_token(token, key),
        ),
        parse=cca.parse, verify=verify_cca.verify, peers=(peers.plain_cca(key),),
        **settings(Tee.CCA, forge.anchors, forge.endorsements),
    )  # fmt: skip


def tpm_quotes(count: int, *, log: bool) -> Subject:
    """TPM quotes in their JSON form, RSA-2048, with the values of 24 PCRs."""
    forge = tpm.TpmForge()
    evidence = answering(
        count, lambda nonce: forge.quote(nonce=nonce, log=None if log else b"").serialize(), size=32
    )  # fmt: skip
    return Subject(
        name=f"TPM quote, JSON{' with event log' if log else ''}", limit="1 RSA-2048", goal=None if log else 0.5,
        items=items_of(evidence, tpm_evidence.parse, lambda quote: checks.tpm_quote(quote, forge.spki)),
        parse=tpm_evidence.parse, verify=verify_tpm.verify,
        **settings(Tee.TPM, forge.anchors, Endorsements(keys=(forge.spki,))),
    )  # fmt: skip


def tpm_parts(count: int) -> Subject:
    """TPM quotes as tools exchange them: statement and signature, here behind the statement's size; the key is pinned.

    Taking the two apart again is part of what is measured.
    """
    forge = tpm.TpmForge()

    def made(nonce: bytes) -> bytes:
        quote = forge.quote(nonce=nonce, log=b"")
        return sized(quote.attest.serialize()) + quote.signature.serialize()

    def parse(data: bytes) -> tpm_evidence.TpmQuote:
        end = 2 + int.from_bytes(data[:2])
        return tpm_evidence.of_parts(data[2:end], data[end:])

    return Subject(
        name="TPM quote, message and signature", limit="1 RSA-2048", goal=0.5,
        items=items_of(answering(count, made, size=32), parse, lambda quote: checks.tpm_quote(quote, forge.spki)),
        parse=parse, verify=verify_tpm.verify, no_format="two byte strings are no file that can be recognised",
        **settings(Tee.TPM, forge.anchors, Endorsements(keys=(forge.spki,))),
    )  # fmt: skip


def keystone_reports(count: int) -> Subject:
    """Keystone reports. The monitor's part is the same in all, as on a machine that stays up."""
    forge = keystone.KeystoneForge()
    return Subject(
        name="Keystone report", limit="1 Ed25519 with SHA3-512", goal=None,
        items=items_of(answering(count, forge.report), keystone_evidence.parse, checks.keystone_report),
        parse=keystone_evidence.parse, verify=verify_keystone.verify,
        **settings(Tee.KEYSTONE, forge.anchors, forge.endorsements),
    )  # fmt: skip


def software_evidences(count: int) -> Subject:
    """Evidence of software enclaves, signed with Ed25519."""
    forge = software.SoftwareForge()
    return Subject(
        name="software evidence", limit="1 Ed25519", goal=None,
        items=items_of(
            answering(count, forge.evidence), software_evidence.parse,
            lambda one: checks.software(one, forge.spki),
        ),
        parse=software_evidence.parse, verify=verify_software.verify,
        **settings(Tee.SOFTWARE, forge.anchors, forge.endorsements),
    )  # fmt: skip


FORGED: dict[str, Callable[[int], Subject]] = {
    "sgx3": lambda count: sgx_quotes(count, 3),
    "sgx4": lambda count: sgx_quotes(count, 4),
    "tdx4": lambda count: tdx_quotes(count, 4, TdReport10),
    "tdx5": lambda count: tdx_quotes(count, 5, TdReport15),
    "snp": snp_reports,
    "cca": cca_tokens,
    "tpm-parts": tpm_parts,
    "tpm": lambda count: tpm_quotes(count, log=False),
    "tpm-log": lambda count: tpm_quotes(count, log=True),
    "keystone": keystone_reports,
    "software": software_evidences,
}
"""By the name that the command line has; each makes so many pieces of evidence."""
