"""Launch control: who may start enclaves, without a token or with one that a launch enclave made."""

from datetime import date
from typing import Any

import pytest
from tests.machines.sgx import BASE, FUSES, Bench, author, draft

from cloister.emulate.sgx.keys import cmac, egetkey
from cloister.emulate.sgx.outcomes import Code
from cloister.emulate.sgx.structures import Attribute, Attributes, EinitToken, KeyName, KeyRequest
from cloister.emulate.vendors.sigstruct import mrsigner, sign_enclave, signing_key
from cloister.measure.sigstruct import Product

NORMAL = Attributes(flags=Attribute.MODE64BIT, xfrm=3)
LAUNCHES = Attributes(flags=Attribute.MODE64BIT | Attribute.EINITTOKENKEY, xfrm=3)
EVERYTHING = Attributes(flags=(1 << 64) - 1, xfrm=(1 << 64) - 1)
OTHER = signing_key()


@pytest.fixture
def bench() -> Bench:
    """A processor that lets enclaves of `author` start, and a launch enclave of theirs that runs."""
    made = Bench()
    made.create(draft(attributes=LAUNCHES))
    made.add(BASE, 0x205, b"launch enclave".ljust(4096))
    assert made.initialise(Product(attributes=LAUNCHES.serialize(), isvprodid=1, isvsvn=2)) is Code.SUCCESS
    return made


def token_for(bench: Bench, **changes: Any) -> tuple[EinitToken, bytes]:
    """What the launch enclave makes about an enclave of another author, which is built here; and its SIGSTRUCT."""
    launcher = bench.cpu.secs(bench.cpu.enclave_of("test", bench.secs))
    bench.create(draft(attributes=NORMAL))
    bench.add(BASE, 0x205, b"somebody else's".ljust(4096))
    measured = bench.cpu.enclave_of("test", bench.secs).measurement.digest().value
    request = KeyRequest(
        keyname=KeyName.EINITTOKEN, keypolicy=0, isvsvn=2, cpusvn=FUSES.cpusvn, attributemask=EVERYTHING,
        keyid=b"k" * 32, miscmask=0xFFFFFFFF, configsvn=0,
    )  # fmt: skip
    values: dict[str, Any] = {
        "valid": 1, "attributes": NORMAL, "mrenclave": measured, "mrsigner": mrsigner(OTHER), "cpusvnle": FUSES.cpusvn,
        "isvprodidle": 1, "isvsvnle": 2, "maskedmiscselectle": 0, "maskedattributesle": launcher.attributes,
        "keyid": b"k" * 32, "mac": bytes(16),
    }  # fmt: skip
    key = egetkey(FUSES, launcher, request)
    assert isinstance(key, bytes)
    unsigned = EinitToken(**values | changes)
    made = EinitToken(**values | changes | {"mac": cmac(key, unsigned.serialize()[:192])})
    return made, sign_enclave(OTHER, measured, date=date(2026, 6, 1))


def launched(bench: Bench, token: bytes, signed: bytes) -> Code:
    return bench.einit(signed, launch_hash=mrsigner(author()), token=token)


def test_another_authors_enclave_needs_a_token(bench: Bench) -> None:
    token, signed = token_for(bench)
    assert launched(bench, bytes(304), signed) is Code.INVALID_EINITTOKEN
    assert launched(bench, token.serialize(), signed) is Code.SUCCESS


@pytest.mark.parametrize("place", [0, 4, 48, 64, 128, 192, 208, 210, 220, 236, 240, 256, 288, 303])
def test_a_changed_token_starts_nothing(bench: Bench, place: int) -> None:
    token, signed = token_for(bench)
    changed = bytearray(token.serialize())
    changed[place] ^= 1
    assert launched(bench, bytes(changed), signed) in {Code.INVALID_EINITTOKEN, Code.INVALID_CPUSVN}


@pytest.mark.parametrize(
    "changes",
    [{"mrenclave": bytes(32)}, {"mrsigner": bytes(32)}, {"attributes": LAUNCHES}],
    ids=lambda one: next(iter(one)),
)
def test_a_token_about_another_enclave_starts_nothing(bench: Bench, changes: dict[str, Any]) -> None:
    token, signed = token_for(bench, **changes)
    assert launched(bench, token.serialize(), signed) is Code.INVALID_EINITTOKEN


def test_a_token_of_a_later_processor_starts_nothing(bench: Bench) -> None:
    token, signed = token_for(bench, cpusvnle=b"\xff" * 16)
    assert launched(bench, token.serialize(), signed) is Code.INVALID_CPUSVN


def test_a_launch_enclave_under_debug_starts_no_production_enclave() -> None:
    attributes = Attributes(flags=LAUNCHES.flags | Attribute.DEBUG, xfrm=3)
    bench = Bench()
    bench.create(draft(attributes=attributes))
    product = Product(attributes=attributes.serialize(), isvprodid=1, isvsvn=2)
    assert bench.initialise(product) is Code.SUCCESS
    token, signed = token_for(bench)
    assert launched(bench, token.serialize(), signed) is Code.INVALID_EINITTOKEN


def test_only_the_trusted_signer_has_launch_enclaves() -> None:
    bench = Bench()
    bench.create(draft(attributes=LAUNCHES))
    measured = bench.cpu.enclave_of("test", bench.secs).measurement.digest().value
    signed = sign_enclave(OTHER, measured, date=date(2026, 6, 1), product=Product(attributes=LAUNCHES.serialize()))
    assert launched(bench, bytes(304), signed) is Code.INVALID_ATTRIBUTE
