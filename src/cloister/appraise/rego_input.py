"""Claims in the shapes that deployed Rego policies expect: those of Trustee's attestation service and of Veraison.

Trustee: `input.<tee>` with the verifier's parsed claims (confidential-containers/trustee, deps/verifier: field names of
its quotes and reports); Veraison: `input.evidence`, `input.result`, `input.scheme` (veraison/services, policy/opa.go).
Our own claims stand beside theirs under the same key: a policy may use either.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Final

from cloister.model import Tee

__all__ = ["input_of"]

INTEL_QE: Final = "939a7233f79c4ca9940a0db3957f0607"
"""The only QE vendor whose quotes are verified here."""
TDX_BODY: Final = {
    "mr_td": "mrtd", "mr_seam": "mrseam", "mrsigner_seam": "mrsignerseam", "mr_config_id": "mrconfigid",
    "mr_owner": "mrowner", "mr_owner_config": "mrownerconfig", "rtmr_0": "rtmr0", "rtmr_1": "rtmr1", "rtmr_2": "rtmr2",
    "rtmr_3": "rtmr3", "xfam": "xfam", "td_attributes": "tdattributes", "seam_attributes": "seamattributes",
    "tcb_svn": "tee_tcb_svn", "report_data": "report_data",
}  # fmt: skip
SGX_BODY: Final = {
    "mr_enclave": "mrenclave", "mr_signer": "mrsigner", "isv_prod_id": "isvprodid", "isv_svn": "isvsvn",
    "cpu_svn": "cpusvn", "config_id": "configid", "config_svn": "configsvn", "misc_select": "miscselect",
    "report_data": "report_data", "isv_family_id": "isvfamilyid", "isv_ext_prod_id": "isvextprodid",
}  # fmt: skip
SNP_POLICY: Final = {"smt_allowed": 16, "migrate_ma_allowed": 18, "debug_allowed": 19, "single_socket_required": 20}
"""Bits of the guest policy (SEV-SNP ABI, table 9)."""
SNP_PLATFORM: Final = {
    "smt_enabled": 0,
    "tsme_enabled": 1,
    "ecc_enabled": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding_enabled": 4,
}
"""Bits of PLATFORM_INFO (SEV-SNP ABI, table 23)."""
SNP_TCB: Final = ("bootloader", "tee", "snp", "microcode")

Claims = Mapping[str, object]


def input_of(tee: Tee, claims: Claims, result: Mapping[str, int]) -> dict[str, object]:
    """The whole `input` document."""
    theirs = SHAPES[tee](claims) if tee in SHAPES else {}
    document: dict[str, object] = {
        str(tee): {**claims, **theirs},
        "claims": dict(claims),
        "evidence": veraison_cca(claims) if tee is Tee.CCA else dict(claims),
        "result": {"trust-vector": {name.replace("_", "-"): value for name, value in result.items()}},
        "scheme": "ARM_CCA" if tee is Tee.CCA else str(tee).upper(),
        "session": {},
        "endorsements": [],
    }
    if "report_data" in claims:
        document["report_data"] = claims["report_data"]
    return document


def renamed(claims: Claims, names: Mapping[str, str]) -> dict[str, object]:
    """Claims under other names, those that are there."""
    return {theirs: claims[ours] for theirs, ours in names.items() if ours in claims}


def sgx(claims: Claims) -> dict[str, object]:
    """An SGX quote as Trustee parses it."""
    return {"body": renamed(claims, SGX_BODY), **intel_standing(claims)}


def tdx(claims: Claims) -> dict[str, object]:
    """A TDX quote as Trustee parses it."""
    header = {"tee_type": "81000000", "vendor_id": INTEL_QE}
    bits = ("debug", "sept_ve_disable", "pks", "key_locker", "perfmon")
    return {
        "quote": {"header": header, "body": renamed(claims, TDX_BODY)},
        "td_attributes": {name: claims[name] for name in bits if name in claims},
        **intel_standing(claims),
    }


def intel_standing(claims: Claims) -> dict[str, object]:
    """The TCB standing. Expired collateral never gets this far, so its status is always good."""
    return renamed(claims, {"advisory_ids": "advisories"}) | {"collateral_expiration_status": "0"}


def snp(claims: Claims) -> dict[str, object]:
    """An SNP report as Trustee parses it: nested since 2025, flat before."""
    policy, platform = bits_of(claims.get("policy"), SNP_POLICY), bits_of(claims.get("platform_info"), SNP_PLATFORM)
    if policy and isinstance(claims["policy"], int):
        policy |= {"abi_minor": claims["policy"] & 0xFF, "abi_major": claims["policy"] >> 8 & 0xFF}
    tcb = {part: claims[f"reported_tcb_{part}"] for part in SNP_TCB if f"reported_tcb_{part}" in claims}
    flat = {f"policy_{name}": value for name, value in policy.items()}
    flat |= {f"platform_{name}": value for name, value in platform.items()}
    nested = {**claims, "policy": policy, "plat_info": platform, "reported_tcb": tcb}
    return {"evidence": nested, **flat, "policy_single_socket": policy.get("single_socket_required", False)}


def bits_of(value: object, bits: Mapping[str, int]) -> dict[str, object]:
    """Bits of a number by name; none if it is no number."""
    return {name: bool(value >> bit & 1) for name, bit in bits.items()} if isinstance(value, int) else {}


def veraison_cca(claims: Claims) -> dict[str, object]:
    """A CCA token as Veraison's policies see it: claims by their names in the draft, byte strings in base64."""
    realm = {
        "cca-realm-challenge": "challenge", "cca-realm-initial-measurement": "rim",
        "cca-realm-personalization-value": "rpv",
    }  # fmt: skip
    platform = {
        "cca-platform-implementation-id": "implementation_id", "cca-platform-instance-id": "instance_id",
        "cca-platform-config": "config",
    }  # fmt: skip
    rems = [base64_of(claims[f"rem{number}"]) for number in range(4) if f"rem{number}" in claims]
    return {
        **claims,
        "realm": {name: base64_of(value) for name, value in renamed(claims, realm).items()}
        | {"cca-realm-extensible-measurements": rems},
        "platform": {name: base64_of(value) for name, value in renamed(claims, platform).items()},
    }


def base64_of(value: object) -> str:
    """Hexadecimal digits as base64."""
    return base64.b64encode(bytes.fromhex(str(value))).decode()


SHAPES: Final[Mapping[Tee, Callable[[Claims], dict[str, object]]]] = {Tee.SGX: sgx, Tee.TDX: tdx, Tee.SNP: snp}
