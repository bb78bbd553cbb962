"""Real SIGSTRUCTs: fields, signature, and the one inside a whole enclave image."""

import json
from pathlib import Path

import pytest

from cloister.evidence.sigstruct import looks_like, of_image, parse
from cloister.verification.recipe import CheckState
from cloister.verification.sigstruct import verify_sigstruct

EVIDENCE = Path(__file__).parents[3] / "shared" / "evidence"
SAMPLES = sorted(EVIDENCE.glob("sgx-sigstruct/*/sigstruct.bin"))


def test_there_are_samples() -> None:
    assert len(SAMPLES) == 3


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.parent.name))
def test_sample(path: Path) -> None:
    expected = json.loads((path.parent / "meta.json").read_text())["expected"]
    data = path.read_bytes()
    one = parse(data)
    assert looks_like(data)
    assert one.serialize() == data
    assert {
        "vendor": hex(one.vendor), "date": f"0x{one.date:08x}", "mrenclave": one.enclave_hash.hex(),
        "mrsigner": one.mrsigner.hex(), "isvprodid": one.isvprodid, "isvsvn": one.isvsvn,
        "attributes": one.attributes.hex(), "attribute_mask": one.attribute_mask.hex(), "exponent": one.exponent,
        "rsa_signature": True,
    } == expected  # fmt: skip
    assert [check.state for check in verify_sigstruct(one)] == [CheckState.PASSED] * 3


def test_the_one_in_an_image() -> None:
    folder = EVIDENCE / "sgx-sigstruct" / "intel-ita-enclave-signed-so"
    assert of_image((folder / "enclave.signed.so").read_bytes()) == parse((folder / "sigstruct.bin").read_bytes())
