"""Evidence of emulated machines, judged by verifiers that others wrote, under the emulated root."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from sevsnpmeasure.gctx import GCTX
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run, machine_for

from cloister._x509 import pem_blocks
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, read_image
from cloister.measure.program import program_measurement
from cloister.measure.snp import DEFAULT_FEATURES
from cloister.measure.vmsa import guest_vmsa

AT = datetime.now(UTC)
NONCE = b"a nonce of the relying party"


def made(tmp_path: Path, name: str, *, debug: bool = False) -> tuple[bytes, bytes, dict[str, str]]:
    """A quote of the lab's program, the emulated root (DER), and the bundle of the quote's kind."""
    image = read_image(program(LAB_PROGRAM))
    machine = machine_for(name, Run(), tmp_path / "keys", debug=debug)
    try:
        machine.launch(image)
        quote, vouching = machine.evidence(NONCE), machine.vouching(AT)
    finally:
        machine.close()
    bundles = json.loads(vouching.collateral["intel-collateral.json"])
    kind = "TDX" if name == "tdx" else "SGX"
    bundle = next(one for one in bundles if json.loads(one["tcb_info"])["id"] == kind)
    return quote, pem_blocks(vouching.roots, "CERTIFICATE")[0], bundle


def judged(quote: bytes, root: bytes, bundle: dict[str, str]) -> Any:
    """Phala's dcap-qvl, in Rust. ValueError if it refuses."""
    collateral = dcap_qvl.QuoteCollateralV3(
        pck_crl_issuer_chain=bundle["pck_crl_issuer_chain"],
        root_ca_crl=bytes.fromhex(bundle["root_ca_crl"]),
        pck_crl=bytes.fromhex(bundle["pck_crl"]),
        tcb_info_issuer_chain=bundle["tcb_info_issuer_chain"],
        tcb_info=bundle["tcb_info"],
        tcb_info_signature=bytes.fromhex(bundle["tcb_info_signature"]),
        qe_identity_issuer_chain=bundle["qe_identity_issuer_chain"],
        qe_identity=bundle["qe_identity"],
        qe_identity_signature=bytes.fromhex(bundle["qe_identity_signature"]),
    )
    return dcap_qvl.verify_with_root_ca(quote, collateral, root, int(AT.timestamp()))


@pytest.mark.parametrize("name", ["sgx", "sgx-scalable", "tdx"])
def test_another_verifier_of_intel_evidence_accepts_it(tmp_path: Path, name: str) -> None:
    quote, root, bundle = made(tmp_path, name)
    report = judged(quote, root, bundle)
    assert report.status == "UpToDate"
    assert program_measurement(name, read_image(program(LAB_PROGRAM))).digest.value in quote
    assert NONCE in quote


@pytest.mark.parametrize("name", ["sgx", "tdx"])
def test_it_refuses_the_same_quote_with_one_bit_changed_and_under_intels_own_root(tmp_path: Path, name: str) -> None:
    quote, root, bundle = made(tmp_path, name)
    place = quote.index(NONCE)
    with pytest.raises(ValueError, match=r"."):
        judged(quote[:place] + bytes([quote[place] ^ 1]) + quote[place + 1 :], root, bundle)
    other, _, _ = made(tmp_path / "other", name)
    with pytest.raises(ValueError, match=r"."):
        judged(other, root, bundle)


def test_amds_own_tool_arrives_at_the_same_launch_digest(tmp_path: Path) -> None:
    """sev-snp-measure's running digest over the pages that the machine launches."""
    image = read_image(program(LAB_PROGRAM))
    guest = GuestLayout.of(image)
    context = GCTX()
    for gpa, content in guest.pages:
        context.update_normal_pages(gpa, content)
    context.update_secrets_page(guest.end)
    context.update_cpuid_page(guest.end + PAGE)
    context.update_vmsa_page(guest_vmsa(image.entry, features=DEFAULT_FEATURES))
    machine = machine_for("sev-snp", Run(), tmp_path / "keys")
    try:
        machine.launch(image)
        assert machine.measurement.value == context.ld()
    finally:
        machine.close()


PEER_PYTHON = "CLOISTER_CWT_PYTHON"


@pytest.mark.skipif(
    PEER_PYTHON not in os.environ,
    reason=f"the package cwt needs cbor2 5: `pip install cwt` elsewhere and give {PEER_PYTHON}=.../bin/python",
)
def test_another_cose_library_accepts_the_cca_token(tmp_path: Path) -> None:
    image = read_image(program(LAB_PROGRAM, Architecture.ARM64))
    machine = machine_for("cca", Run(), tmp_path / "keys")
    try:
        machine.launch(image)
        (tmp_path / "token").write_bytes(machine.evidence(NONCE))
        (tmp_path / "key").write_bytes(machine.vouching(AT).roots)
    finally:
        machine.close()
    judge = Path(__file__).parent / "peer_programs" / "judge_cca.py"
    command = [os.environ[PEER_PYTHON], str(judge), str(tmp_path / "token"), str(tmp_path / "key")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert bytes.fromhex(done.stdout) == program_measurement("cca", image).digest.value
    changed = bytearray((tmp_path / "token").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "token").write_bytes(bytes(changed))
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0
