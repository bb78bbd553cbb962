"""docs/frameworks.md: what is verified of each framework, and against what; each cell has a test, or a reason.

A cell that says `real` or `published` names the folder in evidence/ that its test reads.
"""

import ast
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import pytest
from tests.samples.conftest import EVIDENCE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "frameworks.md"
COLUMNS = ("import", "export", "measure", "evidence", "run", "secrets")


class Kind(StrEnum):
    """What something was verified against, the best first."""

    REAL = "real"
    PUBLISHED = "published"
    TOOL = "their tool"
    SECOND = "second implementation"
    EMULATED = "emulated"
    DOUBLE = "double"
    DOCUMENTED = "documentation"


MEANS = {
    Kind.REAL: "evidence that hardware signed, or an enclave that its author signed, in `evidence/`",
    Kind.PUBLISHED: "a sample that the project or its tools published, in `evidence/`, not of hardware",
    Kind.TOOL: "what the framework's own tool or code makes or takes",
    Kind.SECOND: "a second implementation, written from the framework's sources or specification for the tests",
    Kind.EMULATED: "an emulated machine, in the place of the hardware",
    Kind.DOUBLE: "a double of the tool, the kernel or the device; not yet run on hardware",
    Kind.DOCUMENTED: "files and messages that were written to the framework's documentation or sources",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What a cell rests on. `sample` is a folder in evidence/, `note` what else must be said."""

    kind: Kind
    test: str
    sample: str = ""
    note: str = ""


Cell = Proof | str
"""Or the reason why there is none."""

RUN_FILES = "tests/integration/test_run_frameworks_files.py::"
ATTESTED = "tests/integration/test_serve_attested_tls.py::"
LAUNCH = "tests/integration/test_launch_cli.py::"
EMULATED = "tests/system/test_serve_emulated.py::"
REALM = "tests/unit/test_measure_realm.py::"
READING = "tests/unit/test_frameworks_reading.py::"
SHAPES = "tests/unit/test_frameworks_shapes.py::"
THERE_AND_BACK = Proof(
    Kind.DOCUMENTED, "tests/property/test_frameworks_conversion.py::test_there_and_back_keeps_what_both_sides_share"
)
RUN = Proof(Kind.DOUBLE, "tests/integration/test_run_frameworks.py::test_a_program_is_signed_and_run")
QEMU = Proof(Kind.TOOL, "tests/integration/test_vm_cli.py::test_the_real_qemu_takes_the_object")
GUEST = Proof(Kind.DOUBLE, "tests/integration/test_attest_guest.py::test_what_the_kernel_answers_verifies")
QUOTE = "tests/samples/test_dcap.py::test_chain_and_signatures"
IMAGES = "tests/samples/test_measure_images.py::"
LAUNCH_DIGEST = Proof(
    Kind.PUBLISHED, "tests/samples/test_snp_launch_digest.py::test_digest", "snp-launch-digest/virtee-sev-snp-measure"
)
SDK_IMAGE = Proof(
    Kind.REAL, f"{IMAGES}test_the_published_enclave_measures_what_its_author_signed",
    "sgx-sigstruct/intel-ita-enclave-signed-so",
)  # fmt: skip
OCCLUM_IMAGE = replace(SDK_IMAGE, note="an image of the SDK, as Occlum's are; none of Occlum's own is at hand")
KBS = Proof(Kind.DOCUMENTED, "tests/integration/test_serve_kbs.py::test_a_client_attests_and_gets_the_secret")
NO_FILE = "there is no configuration file of its own: a guest is its firmware, kernel and command line"
STARTS_ITSELF = "its programs start their enclaves themselves"

ROWS: dict[str, tuple[Cell, Cell, Cell, Cell, Cell, Cell]] = {
    "Gramine": (
        Proof(Kind.DOCUMENTED, f"{READING}test_gramine_means_what_it_says"),
        THERE_AND_BACK,
        Proof(Kind.TOOL, "tests/unit/test_measure_enclaves.py::test_gramine_by_the_original"),
        Proof(Kind.REAL, QUOTE, "intel-sgx/certifier-gramine-attestation-v3"),
        RUN,
        Proof(Kind.EMULATED, "tests/integration/test_serve_gramine.py::test_an_enclave_gets_its_secret"),
    ),
    "SCONE": (
        Proof(Kind.DOCUMENTED, f"{READING}test_scone_means_what_it_says"),
        THERE_AND_BACK,
        "SCONE does not publish how it lays an enclave out",
        "its quotes go to its own service, and no sample is published; they are SGX quotes",
        RUN,
        Proof(Kind.DOCUMENTED, "tests/integration/test_convert_cli.py::test_a_small_session_is_taken_by_the_broker"),
    ),
    "EGo": (
        Proof(Kind.DOCUMENTED, f"{RUN_FILES}test_a_file_of_another_framework_is_converted"),
        Proof(Kind.DOCUMENTED, "tests/integration/test_convert_cli.py::test_a_manifest_becomes_an_enclave_json"),
        Proof(Kind.SECOND, "tests/unit/test_measure_enclaves.py::test_ego_by_a_second_implementation"),
        Proof(Kind.REAL, QUOTE, "intel-sgx/openenclave-sgx-quote-v3"),
        RUN,
        Proof(Kind.EMULATED, f"{ATTESTED}test_a_program_of_ego_gets_its_secret"),
    ),
    "Open Enclave": (
        "what its signing tool reads is three numbers, which `cloister sigstruct` takes as options",
        "as before",
        Proof(Kind.SECOND, "tests/unit/test_measure_enclaves.py::test_open_enclave_by_a_second_implementation"),
        Proof(Kind.REAL, "tests/samples/test_collateral_bundles.py::test_open_enclave_s_containers_are_opened",
              "intel-sgx/openenclave-evidence-container"),
        STARTS_ITSELF,
        Proof(Kind.EMULATED, f"{ATTESTED}test_a_program_of_open_enclave_gets_its_secret"),
    ),
    "Occlum": (
        Proof(Kind.DOCUMENTED, f"{SHAPES}test_an_instance_of_occlum_in_yaml"),
        THERE_AND_BACK,
        OCCLUM_IMAGE,
        Proof(Kind.REAL, QUOTE, "intel-sgx/trustee-occlum-quote-v3"),
        RUN,
        KBS,
    ),
    "SGX SDK": (
        Proof(Kind.DOCUMENTED, f"{SHAPES}test_an_enclave_of_the_sdk"),
        THERE_AND_BACK,
        SDK_IMAGE,
        Proof(Kind.REAL, QUOTE, "intel-sgx/ccc-ratls-intel-sgxsdk-cert-v3"),
        STARTS_ITSELF,
        KBS,
    ),
    "SEV and SEV-ES guests": (
        NO_FILE,
        QEMU,
        LAUNCH_DIGEST,
        Proof(Kind.REAL, "tests/samples/test_sev.py::test_platform", "amd-sev/virtee-sev-rome"),
        Proof(Kind.DOUBLE, "tests/integration/test_vm_cli.py::test_everything_that_is_missing_is_said_at_once"),
        Proof(Kind.EMULATED, f"{LAUNCH}test_a_launch_ends_with_a_program_that_has_its_secret"),
    ),
    "SEV-SNP guests": (
        NO_FILE,
        QEMU,
        LAUNCH_DIGEST,
        Proof(Kind.REAL, "tests/samples/test_snp.py::test_verdict", "amd-sev-snp/virtee-report-milan"),
        GUEST,
        Proof(Kind.EMULATED, f"{EMULATED}test_the_measured_program_gets_the_secret_and_another_does_not"),
    ),
    "TDX guests": (
        NO_FILE,
        QEMU,
        Proof(Kind.REAL, f"{IMAGES}test_a_published_log_leads_to_the_registers_of_a_quote", "event-logs"),
        Proof(Kind.REAL, "tests/samples/test_dcap.py::test_the_verdict_is_intel_s_own", "intel-tdx"),
        GUEST,
        KBS,
    ),
    "CCA realms": (
        Proof(Kind.DOCUMENTED, f"{REALM}test_a_file_of_several_granules_and_a_range_of_entries"),
        "QEMU has no release that starts realms; what `cloister vm` writes is for the series that is under review",
        Proof(Kind.DOCUMENTED, f"{REALM}test_the_published_steps"),
        Proof(Kind.PUBLISHED, "tests/samples/test_cca.py::test_its_verdict", "arm-cca"),
        GUEST,
        KBS,
    ),
    "Keystone": (
        "its enclaves have no configuration file",
        "as before",
        Proof(Kind.SECOND, "tests/unit/test_measure_guest.py::test_keystone_hashes_parameters_runtime_and_image"),
        Proof(Kind.PUBLISHED, "tests/samples/test_keystone.py::test_a_good_one_verifies", "keystone"),
        STARTS_ITSELF,
        KBS,
    ),
    "Confidential Containers": (
        Proof(Kind.DOCUMENTED, "tests/unit/test_init_data.py::test_the_digest_is_of_the_files_bytes"),
        "a pod's definition is the cluster's; init data is a file that you write",
        LAUNCH_DIGEST,
        Proof(Kind.REAL, "tests/samples/test_envelope.py::test_trustee_s_fields_are_the_signed_bytes",
              "amd-sev-snp/trustee-evidence-v2"),
        "the cluster starts the guests",
        Proof(Kind.DOCUMENTED, "tests/integration/test_serve_coco.py::test_the_clients_requests_bring_the_resource"),
    ),
    "AWS Nitro": (
        "not supported", "not supported", "no image with published registers is at hand: nothing would show a mistake",
        "not supported", "not supported", "not supported",
    ),
}  # fmt: skip


def word(cell: Cell) -> str:
    return str(cell.kind) if isinstance(cell, Proof) else "—"


def table() -> str:
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(map(word, cells))} |" for name, cells in ROWS.items()]
    return "\n".join(lines)


def meanings() -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {kind} | {text} |" for kind, text in MEANS.items())])


def proofs() -> str:
    lines = ["| | | rests on |", "|---|---|---|"]
    for name, cells in ROWS.items():
        for column, cell in zip(COLUMNS, cells, strict=True):
            if isinstance(cell, Proof):
                sample = f", evidence/{cell.sample}" if cell.sample else ""
                note = f"; {cell.note}" if cell.note else ""
                lines.append(f"| {name} | {column} | `{cell.test}`{sample}{note} |")
            elif cell != "not supported":
                lines.append(f"| {name} | {column} | — {cell} |")
    return "\n".join(lines)


@pytest.mark.parametrize("made", [table, meanings, proofs], ids=lambda one: one.__name__)
def test_the_page_says_what_is_verified(made: Callable[[], str]) -> None:
    assert made() in PAGE.read_text(), f"put this into {PAGE}:\n{made()}"


CELLS = [
    pytest.param(cell, id=f"{name}-{column}")
    for name, cells in ROWS.items()
    for column, cell in zip(COLUMNS, cells, strict=True)
    if isinstance(cell, Proof)
]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("proof", CELLS)
def test_what_a_cell_rests_on_exists(proof: Proof) -> None:
    path, _, name = proof.test.partition("::")
    assert name in names_in(path)
    real = proof.kind in {Kind.REAL, Kind.PUBLISHED}
    assert real is bool(proof.sample) is path.startswith("tests/samples/")


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason=f"no evidence samples at {EVIDENCE}")
@pytest.mark.parametrize("proof", [one for one in CELLS if getattr(one.values[0], "sample", "")])
def test_the_evidence_is_of_the_kind_that_is_said(proof: Proof) -> None:
    places = [EVIDENCE / proof.sample] if (EVIDENCE / proof.sample / "meta.json").exists() else sorted(
        (EVIDENCE / proof.sample).iterdir()
    )  # fmt: skip
    kinds = {json.loads((one / "meta.json").read_text())["genuine"] for one in places}
    genuine = any(one.startswith(("hardware", "developer-signed")) for one in kinds)
    assert genuine is (proof.kind is Kind.REAL), kinds


def test_nothing_is_left_open() -> None:
    for name, cells in ROWS.items():
        for cell in cells:
            assert isinstance(cell, Proof) or len(cell) > 8, name
