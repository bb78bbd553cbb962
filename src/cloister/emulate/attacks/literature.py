"""What real hardware does under each attack, by what was published of it: what the emulated machines must agree with.

Outcomes are for the adversary's goal as the attack states it. Sources are named by author, venue and year, or by the
vendor's document.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from cloister.emulate.attacks.outcome import Outcome

__all__ = ["LITERATURE", "Expected"]


class Expected(NamedTuple):
    """What real hardware does, and who says so."""

    outcome: Outcome
    source: str


WORKS: Final = Outcome.SUCCEEDED
SEEN: Final = Outcome.DETECTED
FAILS: Final = Outcome.STOPPED

SDM: Final = "Intel SDM vol. 3D"
LINUX_SGX: Final = "Linux, Documentation/arch/x86/sgx.rst"
MEE: Final = "Gueron, IACR eprint 2016/204"
GRAMINE: Final = "Gramine, Introduction to SGX; WireTap, CCS 2025"
LINUX_SEV: Final = "Linux, Documentation/virt/kvm/x86/amd-memory-encryption.rst"
LINUX_SME: Final = "Linux, Documentation/arch/x86/amd-memory-encryption.rst"
SNP: Final = "AMD APM volume 2, 15.36, reverse map table"
TDX_MODULE: Final = "Intel TDX module 1.5 ABI"
TDX_WHITE: Final = "Intel TDX white paper, memory integrity"
TDX_MAC: Final = "Intel TDX Demystified, 2023: nothing counts in the MAC"
TEEFAIL: Final = "TEE.fail, S&P 2026"
TZC: Final = "Arm TZC-400 TRM"
CASE: Final = "CaSE, S&P 2016"
RMM: Final = "Arm RMM specification 1.0"
RME: Final = "Arm RME, granule protection checks"
KEYSTONE: Final = "Keystone, EuroSys 2020"
BASELINE: Final = "no TEE"
SHIELD: Final = "Iago attacks, ASPLOS 2013; the trusted part checks"


def _row(**cells: tuple[Outcome, str]) -> dict[str, Expected]:
    """One attack: machine -> expectation. Without a TEE every attack works."""
    given = {"native": (WORKS, BASELINE)} | {name.replace("_", "-"): cell for name, cell in cells.items()}
    return {name: Expected(*cell) for name, cell in given.items()}


def _all(cell: tuple[Outcome, str], **others: tuple[Outcome, str]) -> dict[str, Expected]:
    """One attack that most machines meet in the same way."""
    names = ("sgx", "sgx_scalable", "sme", "sev", "sev_es", "sev_snp", "tdx", "trustzone", "cca", "keystone")
    return _row(**(dict.fromkeys(names, cell) | others))


LITERATURE: Final[Mapping[str, Mapping[str, Expected]]] = {
    "host-read": _row(
        sgx=(FAILS, f"{SDM}: abort page"),
        sgx_scalable=(FAILS, f"{SDM}: abort page"),
        sme=(WORKS, f"{LINUX_SME}: one key, the host's"),
        sev=(FAILS, LINUX_SEV),
        sev_es=(FAILS, LINUX_SEV),
        sev_snp=(FAILS, LINUX_SEV),
        tdx=(FAILS, TDX_WHITE),
        trustzone=(FAILS, f"{TZC}: reads as zero"),
        cca=(FAILS, f"{RME}: granule protection fault"),
        keystone=(FAILS, f"{KEYSTONE}: PMP fault"),
    ),
    "host-write": _row(
        sgx=(FAILS, f"{SDM}: dropped"),
        sgx_scalable=(FAILS, f"{SDM}: dropped"),
        sme=(WORKS, LINUX_SME),
        sev=(FAILS, "Du et al. 2017: garbage, unnoticed, where the tweak is strong"),
        sev_es=(FAILS, "Du et al. 2017: garbage, unnoticed, where the tweak is strong"),
        sev_snp=(FAILS, f"{SNP}: page fault"),
        tdx=(SEEN, f"{TDX_WHITE}: machine check at the next read"),
        trustzone=(FAILS, f"{TZC}: dropped"),
        cca=(FAILS, RME),
        keystone=(FAILS, KEYSTONE),
    ),
    "host-replay": _row(
        sgx=(FAILS, f"{SDM}: abort page"),
        sgx_scalable=(FAILS, f"{SDM}: abort page"),
        sme=(WORKS, LINUX_SME),
        sev=(WORKS, "Hetzelt and Buhren, VEE 2017"),
        sev_es=(WORKS, "Hetzelt and Buhren, VEE 2017; ES protects registers only"),
        sev_snp=(FAILS, f"{SNP}: page fault"),
        tdx=(SEEN, TDX_WHITE),
        trustzone=(FAILS, TZC),
        cca=(FAILS, RME),
        keystone=(FAILS, KEYSTONE),
    ),
    "remap": _row(
        sgx=(SEEN, f"{SDM}: EPCM linear address"),
        sgx_scalable=(SEEN, f"{SDM}: EPCM linear address"),
        sme=(WORKS, "the operating system owns the page tables"),
        sev=(WORKS, "SEVered, EuroSec 2018"),
        sev_es=(WORKS, "SEVered, EuroSec 2018"),
        sev_snp=(SEEN, f"{SNP}: guest-physical address"),
        tdx=(FAILS, f"{TDX_MODULE}: secure EPT"),
        trustzone=(FAILS, "the secure world owns its page tables"),
        cca=(FAILS, RMM),
        keystone=(FAILS, f"{KEYSTONE}: page tables inside the enclave"),
    ),
    "page-trace": _row(
        sgx=(WORKS, "Xu et al., S&P 2015"),
        sgx_scalable=(WORKS, "Xu et al., S&P 2015"),
        sme=(WORKS, "the operating system owns the page tables"),
        sev=(WORKS, "SEVered, EuroSec 2018"),
        sev_es=(WORKS, "SEV-Step, TCHES 2024"),
        sev_snp=(WORKS, "SEV-Step, TCHES 2024"),
        tdx=(WORKS, "TDXRay, S&P 2026: secure EPT block and unblock"),
        trustzone=(FAILS, "the secure world owns its page tables"),
        cca=(SEEN, f"{RMM}: a page can only be destroyed, once"),
        keystone=(FAILS, f"{KEYSTONE}: page tables inside the enclave"),
    ),
    "registers": _row(
        sgx=(FAILS, f"{SDM}: synthetic state at AEX"),
        sgx_scalable=(FAILS, f"{SDM}: synthetic state at AEX"),
        sme=(WORKS, "the operating system saves them"),
        sev=(WORKS, "Hetzelt and Buhren, VEE 2017: VMCB in the clear"),
        sev_es=(FAILS, "AMD, Protecting VM register state with SEV-ES, 2017"),
        sev_snp=(FAILS, "AMD, Protecting VM register state with SEV-ES, 2017"),
        tdx=(FAILS, TDX_MODULE),
        trustzone=(FAILS, "TF-A, context management: the monitor saves and clears"),
        cca=(FAILS, f"{RMM}: REC exit"),
        keystone=(FAILS, f"{KEYSTONE}: the monitor swaps contexts"),
    ),
    "debug-read": _all((FAILS, "production: the debug attribute is off"), sme=(WORKS, "the host's own debugger")),
    "changed-program": _all(
        (SEEN, "the measurement differs"),
        sme=(WORKS, "SME measures nothing"),
        trustzone=(SEEN, "trusted boot: the signature does not verify"),
    ),
    "forged-reply": _all((SEEN, SHIELD), sme=(WORKS, "the operating system answers, and is believed")),
    "dma-read": _row(
        sgx=(FAILS, f"{LINUX_SGX}: range registers"),
        sgx_scalable=(FAILS, f"{LINUX_SGX}: range registers"),
        sme=(WORKS, f"{LINUX_SME}: decrypted for a device that is given the C-bit"),
        sev=(FAILS, f"{LINUX_SEV}: shared pages only"),
        sev_es=(FAILS, f"{LINUX_SEV}: shared pages only"),
        sev_snp=(FAILS, f"{LINUX_SEV}: shared pages only"),
        tdx=(FAILS, TDX_WHITE),
        trustzone=(FAILS, TZC),
        cca=(FAILS, f"{RME}: the SMMU checks as well"),
        keystone=(WORKS, f"{KEYSTONE}: without an IOPMP"),
    ),
    "dma-write": _row(
        sgx=(FAILS, f"{LINUX_SGX}: range registers"),
        sgx_scalable=(FAILS, f"{LINUX_SGX}: range registers"),
        sme=(WORKS, LINUX_SME),
        sev=(FAILS, "garbage, unnoticed"),
        sev_es=(FAILS, "garbage, unnoticed"),
        sev_snp=(FAILS, f"{SNP}: refused"),
        tdx=(SEEN, f"{TDX_WHITE}: machine check at the next read"),
        trustzone=(FAILS, TZC),
        cca=(FAILS, RME),
        keystone=(WORKS, f"{KEYSTONE}: without an IOPMP"),
    ),
    "cold-boot": _all(
        (FAILS, "DRAM holds ciphertext"),
        trustzone=(WORKS, f"{CASE}: DRAM is not encrypted"),
        keystone=(WORKS, f"{KEYSTONE}: DRAM is not encrypted"),
    ),
    "bus-equality": _all(
        (WORKS, "XTS is deterministic"),
        sgx=(FAILS, f"{MEE}: counters"),
        sgx_scalable=(WORKS, GRAMINE),
        sev_snp=(WORKS, TEEFAIL),
        tdx=(WORKS, TEEFAIL),
        trustzone=(WORKS, CASE),
        keystone=(WORKS, KEYSTONE),
    ),
    "bit-flip": _all(
        (FAILS, "garbage, unnoticed"),
        sgx=(SEEN, MEE),
        tdx=(SEEN, f"{TDX_WHITE}: MAC"),
        trustzone=(WORKS, CASE),
        keystone=(WORKS, KEYSTONE),
    ),
    "relocation": _all(
        (FAILS, "the tweak makes garbage, unnoticed"),
        sgx=(SEEN, MEE),
        tdx=(SEEN, f"{TDX_WHITE}: MAC over the address"),
        trustzone=(WORKS, CASE),
        keystone=(WORKS, KEYSTONE),
    ),
    "replay": _all(
        (WORKS, "no freshness in memory encryption"),
        sgx=(SEEN, f"{MEE}: counter tree"),
        sgx_scalable=(WORKS, f"{LINUX_SGX}: TME does not mitigate replay"),
        sev_snp=(WORKS, "BadRAM, S&P 2025"),
        tdx=(WORKS, TDX_MAC),
        trustzone=(WORKS, CASE),
        keystone=(WORKS, KEYSTONE),
    ),
}
"""attack -> machine -> what real hardware does."""
