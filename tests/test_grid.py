"""The grid: the same file name in every stage means the same TEE; every hole is declared, with its reason."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cloister"

STAGES = ("evidence", "endorse", "verification", "appraise", "measure", "emulate", "launch", "observe")
TEES = ("software", "sgx", "tdx", "snp", "sev", "cca", "keystone", "tpm", "trustzone")

WHOLE = {
    ("launch", "software"): "launch/command.py and its neighbours start the software enclave",
    ("observe", "software"): "observe/ looks at processes from outside, whatever runs in them",
}
"""Cells filled by the whole package instead of one file."""

VENDORS = {
    ("endorse", "sgx"): "intel.py",
    ("endorse", "tdx"): "intel.py",
    ("endorse", "snp"): "amd.py",
    ("endorse", "sev"): "amd.py",
}
"""Cells filled by the vendor's file: one vendor vouches for several TEEs in the same way."""

OWNERS = "no vendor publishes endorsements: its owner hands over keys or certificates, which store.py holds"
NO_ATTESTATION = "the base architecture has no attestation"
NEVER = {
    ("endorse", "software"): OWNERS,
    ("endorse", "cca"): OWNERS,
    ("endorse", "keystone"): OWNERS,
    ("endorse", "tpm"): OWNERS,
    ("measure", "tpm"): "PCRs are what a boot extended; its event log explains them (verification/eventlog.py)",
    ("emulate", "software"): "the software enclave is not emulated: it runs",
    ("emulate", "tpm"): "a TPM runs no programs",
    ("evidence", "trustzone"): NO_ATTESTATION,
    ("endorse", "trustzone"): NO_ATTESTATION,
    ("verification", "trustzone"): NO_ATTESTATION,
    ("appraise", "trustzone"): NO_ATTESTATION,
    ("measure", "trustzone"): NO_ATTESTATION,
}
"""Cells that stay empty, and why."""

NOT_YET = {
    "launch": "enclaves on hardware are launched by their frameworks; emulated machines launch in emulate/",
    "observe": "hardware TEEs cannot be launched yet; emulated ones have administrators of their own in emulate/",
}
"""Why a stage's other cells are empty. An entry goes when its column is full."""


def filled(stage: str, tee: str) -> bool:
    if (stage, tee) in WHOLE:
        return (PACKAGE / stage / "__init__.py").exists()
    if (PACKAGE / stage / tee / "__init__.py").exists():
        return True
    return (PACKAGE / stage / VENDORS.get((stage, tee), f"{tee}.py")).exists()


def grid() -> str:
    """The table as it stands in ARCHITECTURE.md."""
    rows = [f"| {tee} | {' | '.join(cell(stage, tee) for stage in STAGES)} |" for tee in TEES]
    return "\n".join([f"| | {' | '.join(STAGES)} |", f"|---|{'---|' * len(STAGES)}", *rows])


def cell(stage: str, tee: str) -> str:
    if not filled(stage, tee):
        return "–" if (stage, tee) in NEVER else "·"
    if (stage, tee) in WHOLE:
        return f"{stage}/"
    package = (PACKAGE / stage / tee / "__init__.py").exists()
    return f"{tee}/" if package else VENDORS.get((stage, tee), f"{tee}.py")


def test_every_hole_is_declared() -> None:
    print(grid())  # noqa: T201 - shown when the test fails, or with -s
    holes = [(stage, tee) for stage in STAGES for tee in TEES if not filled(stage, tee)]
    assert not [hole for hole in holes if hole[0] not in NOT_YET and hole not in NEVER]
    assert not [hole for hole in NEVER if hole not in holes], "a filled cell needs no reason"


@pytest.mark.parametrize("stage", STAGES)
def test_no_declaration_is_stale(stage: str) -> None:
    full = all(filled(stage, tee) or (stage, tee) in NEVER for tee in TEES)
    assert full != (stage in NOT_YET), "a full column needs no reason, an incomplete one does"


def test_whole_packages_exist() -> None:
    assert all(filled(stage, tee) for stage, tee in WHOLE)


def test_architecture_page_shows_the_grid() -> None:
    assert grid() in (ROOT / "ARCHITECTURE.md").read_text(), f"put this into ARCHITECTURE.md:\n{grid()}"
