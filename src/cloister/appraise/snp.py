"""What a verified SNP report says, as claims. Names are AMD's, in lower case (AMD 56860, sections 2.2, 4.3, 7.3)."""

import functools
from collections.abc import Mapping
from typing import Final

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import claims_of_record
from cloister.evidence.snp import Product, Report, ReportV2, ReportV5, tcb_of
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]

POLICY: Final = {
    "policy_smt": 16, "policy_migrate_ma": 18, "policy_debug": 19, "policy_single_socket": 20, "policy_cxl_allow": 21,
    "policy_mem_aes_256_xts": 22, "policy_rapl_dis": 23, "policy_ciphertext_hiding_dram": 24,
    "policy_page_swap_disable": 25,
}  # fmt: skip
"""What the guest's owner allows or demands, by bit."""

PLATFORM: Final = {
    "platform_smt_en": 0, "platform_tsme_en": 1, "platform_ecc_en": 2, "platform_rapl_dis": 3,
    "platform_ciphertext_hiding_dram_en": 4, "platform_alias_check_complete": 5, "platform_tio_en": 7,
}  # fmt: skip
"""What the platform says of itself, by bit."""

NAMED: Final = sum(1 << bit for bit in PLATFORM.values())
TCBS: Final = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
OF_BYTES: Final = (
    "family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest",
    "report_id", "report_id_ma", "chip_id", *TCBS,
)  # fmt: skip
OF_NUMBERS: Final = ("version", "guest_svn", "policy", "vmpl", "platform_info")


def claims(verified: VerifiedEvidence[Report]) -> dict[str, Claim]:
    """Every field, every bit by its name, and what AMD's certificate says of the platform."""
    report = verified.evidence
    product = Product(str(verified.facts["product"]))
    found: dict[str, Claim] = {name: getattr(report, name).hex() for name in OF_BYTES}
    found |= {name: getattr(report, name) for name in OF_NUMBERS}
    found |= _bits(report.policy, POLICY) | _bits(report.platform_info, PLATFORM)
    found |= {
        "debug": report.debug,
        "policy_abi": f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}",
        "platform_info_unknown": unknown_bits(report.platform_info),
        "signing_key": report.signing_key.name.lower(),
        "author_key_en": report.author_key_en,
        "product": product,
        "csp_id": str(verified.facts["csp_id"]),
        "current_version": f"{report.current_major}.{report.current_minor}.{report.current_build}",
        "committed_version": f"{report.committed_major}.{report.committed_minor}.{report.committed_build}",
    }
    for name in TCBS:
        found |= _levels(name, getattr(report, name), product)
    return found | _of_version(report)


def _bits(value: int, names: Mapping[str, int]) -> dict[str, Claim]:
    return {name: value >> bit & 1 == 1 for name, bit in names.items()}


def unknown_bits(platform_info: int) -> list[Claim]:
    """The numbers of the bits that have no name here."""
    unknown = platform_info & ~NAMED
    return [bit for bit in range(unknown.bit_length()) if unknown >> bit & 1]


@functools.lru_cache(maxsize=1024)
def _levels(name: str, tcb: bytes, product: Product) -> Mapping[str, Claim]:
    """`reported_tcb_snp` and so on: the patch level of each part."""
    levels = claims_of_record(tcb_of(tcb, product))
    return {f"{name}_{part}": level for part, level in levels.items()}


def _of_version(report: Report) -> dict[str, Claim]:
    """What only later versions have."""
    found: dict[str, Claim] = {}
    if not isinstance(report, ReportV2):
        found |= {name: getattr(report, name) for name in ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step")}
    if isinstance(report, ReportV5):
        found |= {"launch_mit_vector": report.launch_mit_vector, "current_mit_vector": report.current_mit_vector}
    return found


def measurements(evidence: Report) -> tuple[Measurement, ...]:
    """The launch digest, then who signed for it: the ID key and the author key, where there are such."""
    found = [("measurement", MeasurementKind.LAUNCH, evidence.measurement)]
    if any(evidence.id_key_digest):
        found.append(("id_key_digest", MeasurementKind.SIGNER, evidence.id_key_digest))
    if evidence.author_key_en:
        found.append(("author_key_digest", MeasurementKind.SIGNER, evidence.author_key_digest))
    return tuple(Measurement(name, kind, Digest("sha384", value)) for name, kind, value in found)
