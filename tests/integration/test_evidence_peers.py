"""Evidence of emulated machines, judged by verifiers that others wrote, under the emulated root."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run, machine_for

from cloister._x509 import pem_blocks
from cloister.measure.image import read_image
from cloister.measure.program import program_measurement

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
