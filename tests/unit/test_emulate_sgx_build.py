"""ECREATE, EADD, EEXTEND, EINIT and EREMOVE, instruction by instruction."""

import hashlib
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.machines.sgx import BASE, Bench, author, draft, tcs

from cloister.emulate.sgx import build, paging
from cloister.emulate.sgx.enter import eenter
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.structures import Attribute, Attributes, PageType
from cloister.emulate.vendors.sigstruct import sign_enclave, signing_key
from cloister.measure.image import PAGE, Permission
from cloister.measure.sigstruct import Product

CREATED = "9e197c8837c6d65632dbdd59cd7df4f1a25b68d8e4e5eb6ca3b20b05311fecb8"
ADDED = "995c454650d39811c9c53e1af534aa6c34a496ce9302c34e0ced2c7a7e2c4103"
EXTENDED = "1f2cf80bd03ffd8bfac33f7cba128aff511c3af666b93bb66e7ef718418bdade"
REGISTERS = dict.fromkeys(("rsp", "rbp", "fs_base", "gs_base"), 0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def measured(bench: Bench) -> str:
    return bench.cpu.enclave_of("test", bench.secs).measurement.digest().value.hex()


# ---------------------------------------------------------------- measurement


def test_instructions_measure_as_the_formula_says(bench: Bench) -> None:
    bench.create(draft(size=0x2000))
    assert measured(bench) == CREATED
    page = bench.add(BASE, 0x203, measured=False)
    assert measured(bench) == ADDED
    for chunk in range(page, page + PAGE, 256):
        build.eextend(bench.cpu, bench.secs, chunk)
    assert measured(bench) == EXTENDED


def test_what_is_not_extended_is_not_measured(bench: Bench) -> None:
    bench.create(draft(size=0x2000))
    bench.add(BASE, 0x203, b"\x90" * PAGE, measured=False)
    assert measured(bench) == ADDED


def test_the_base_is_not_measured_and_attributes_are_not(bench: Bench) -> None:
    flags = Attributes(flags=Attribute.MODE64BIT | Attribute.DEBUG, xfrm=3)
    bench.create(draft(size=0x2000, base=0x40_0000, attributes=flags))
    assert measured(bench) == CREATED


def test_mrenclave_appears_at_einit(bench: Bench) -> None:
    bench.create()
    bench.add(BASE, 0x205, b"\x90" * PAGE)
    enclave = bench.cpu.enclave_of("test", bench.secs)
    assert bench.cpu.secs(enclave).mrenclave == bytes(32)
    assert bench.initialise(Product(isvprodid=7, isvsvn=3)) is Code.SUCCESS
    secs = bench.cpu.secs(enclave)
    assert secs.mrenclave.hex() == measured(bench)
    assert secs.mrsigner == bench.cpu.launch_key_hash
    assert (secs.isvprodid, secs.isvsvn, secs.attributes.flags) == (7, 3, Attribute.INIT | Attribute.MODE64BIT)


# ---------------------------------------------------------------- ECREATE


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"size": 0x3000}, "power of two"),
        ({"size": 0x1000}, "power of two"),
        ({"size": 0}, "power of two"),
        ({"base": 0x1000}, "BASEADDR"),
        ({"ssaframesize": 0}, "SSAFRAMESIZE"),
        ({"miscselect": 1}, "MISCSELECT"),
        ({"attributes": Attributes(flags=Attribute.MODE64BIT, xfrm=1)}, "XFRM"),
        ({"attributes": Attributes(flags=Attribute.MODE64BIT, xfrm=7)}, "XFRM"),
        ({"attributes": Attributes(flags=Attribute.MODE64BIT | Attribute.INIT, xfrm=3)}, "INIT"),
        ({"attributes": Attributes(flags=Attribute.MODE64BIT | 0x8, xfrm=3)}, "bits that this processor lacks"),
        ({"attributes": Attributes(flags=Attribute.MODE64BIT | 1 << 40, xfrm=3)}, "bits that this processor lacks"),
        ({"attributes": Attributes(flags=0, xfrm=3)}, "MODE64BIT"),
        ({"configid": b"c" * 64}, "KSS"),
        ({"eid": 5}, "EINIT fills"),
    ],
)
def test_ecreate_refuses_a_bad_secs(bench: Bench, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(Fault, match=word):
        bench.create(draft(**changes))
    assert list(bench.cpu.epcm) == []


def test_ecreate_refuses_reserved_bytes(bench: Bench) -> None:
    content = bytearray(draft().serialize())
    content[300] = 1
    with pytest.raises(Fault, match="reserved"):
        build.ecreate(bench.cpu, bench.info(source=bytes(content), secinfo=0), bench.take())


def test_ecreate_refuses_other_operands(bench: Bench) -> None:
    whole = draft().serialize()
    with pytest.raises(Fault, match="PT_SECS"):
        build.ecreate(bench.cpu, bench.info(source=whole, secinfo=0x200), bench.take())
    with pytest.raises(Fault, match="LINADDR"):
        build.ecreate(bench.cpu, bench.info(linaddr=BASE, source=whole, secinfo=0), bench.take())
    with pytest.raises(Fault, match="aligned to 32"):
        build.ecreate(bench.cpu, bench.info(source=whole, secinfo=0) + 8, bench.take())
    with pytest.raises(Fault, match="not in the EPC"):
        build.ecreate(bench.cpu, bench.info(source=whole, secinfo=0), 40 * PAGE)
    with pytest.raises(Fault, match="not aligned"):
        build.ecreate(bench.cpu, bench.info(source=whole, secinfo=0), bench.take() + 8)
    at = bench.create()
    with pytest.raises(Fault, match="in use"):
        build.ecreate(bench.cpu, bench.info(source=whole, secinfo=0), at)


# ---------------------------------------------------------------- EADD


@pytest.mark.parametrize(
    ("address", "flags", "word"),
    [
        (BASE + 0x10_0000, 0x203, "ELRANGE"),
        (BASE - PAGE, 0x203, "ELRANGE"),
        (BASE + 8, 0x203, "ELRANGE"),
        (BASE, 0x003, "PT_REG and PT_TCS"),
        (BASE, 0x303, "PT_REG and PT_TCS"),
        (BASE, 0x202, "W without R"),
        (BASE, 0x20B, "PENDING"),
        (BASE, 0x213, "PENDING"),
        (BASE, 0x223, "PENDING"),
    ],
)
def test_eadd_refuses(bench: Bench, address: int, flags: int, word: str) -> None:
    bench.create()
    with pytest.raises(Fault, match=word):
        bench.add(address, flags)
    assert bench.cpu.enclave_of("test", bench.secs).children == 0


def test_eadd_takes_the_page_as_it_is_and_knows_whose_it_is(bench: Bench) -> None:
    bench.create()
    page = bench.add(BASE + 0x3000, 0x205, b"\xcc" * PAGE) // PAGE
    entry = bench.cpu.epcm[page]
    assert entry is not None
    assert bytes(bench.memory.pages[page]) == b"\xcc" * PAGE
    assert (entry.type, entry.address, entry.permission) == (
        PageType.REG, BASE + 0x3000, Permission.READ | Permission.EXECUTE,
    )  # fmt: skip
    assert entry.enclave is bench.cpu.enclave_of("test", bench.secs)


def test_a_tcs_has_no_permissions_and_no_debugger(bench: Bench) -> None:
    bench.create()
    page = bench.add(BASE, 0x107, tcs(flags=1).serialize()) // PAGE
    entry = bench.cpu.epcm[page]
    assert entry is not None
    assert entry.permission == Permission.NONE
    assert bytes(bench.memory.pages[page]) == tcs(flags=0).serialize()


@pytest.mark.parametrize(
    "changes",
    [{"state": 1}, {"cssa": 1}, {"flags": 2}, {"aep": 8}, {"ossa": 0x2001}, {"fslimit": 0}, {"gslimit": 0xFFE}],
)
def test_eadd_refuses_a_bad_tcs(bench: Bench, changes: dict[str, int]) -> None:
    bench.create()
    with pytest.raises(Fault, match="TCS"):
        bench.add(BASE, 0x100, tcs(**changes).serialize())
    with pytest.raises(Fault, match="reserved"):
        bench.add(BASE, 0x100, tcs().serialize()[:-1] + b"\1")


def test_pages_come_from_ordinary_memory_only(bench: Bench) -> None:
    secs = bench.create()
    info = bytearray(bench.cpu.read("test", bench.info(linaddr=BASE, secinfo=0x203, source=b"", secs_at=secs), 32))
    info[8:16] = secs.to_bytes(8, "little")  # the source is an EPC page
    with pytest.raises(Fault, match="is in the EPC"):
        build.eadd(bench.cpu, bench.put("info", bytes(info)), bench.take())


def test_an_enclave_does_not_grow_by_eadd_after_einit(bench: Bench) -> None:
    bench.thread()
    with pytest.raises(Fault, match="initialised already"):
        bench.add(BASE + 0x9000, 0x203)
    with pytest.raises(Fault, match="initialised already"):
        build.eextend(bench.cpu, bench.secs, bench.table[BASE >> 12] * PAGE)


def test_eextend_refuses_other_places(bench: Bench) -> None:
    first = bench.create()
    page = bench.add(BASE, 0x203)
    with pytest.raises(Fault, match="256"):
        build.eextend(bench.cpu, first, page + 128)
    with pytest.raises(Fault, match="SECS"):
        build.eextend(bench.cpu, first, first)
    other = bench.create()
    with pytest.raises(Fault, match="another enclave"):
        build.eextend(bench.cpu, other, page)


# ---------------------------------------------------------------- EINIT


def ready(bench: Bench, secs: Any = None) -> bytes:
    bench.create(secs)
    bench.add(BASE, 0x205)
    return bench.cpu.enclave_of("test", bench.secs).measurement.digest().value


def signed(measurement: bytes, key: rsa.RSAPrivateKey | None = None, **product: Any) -> bytes:
    return sign_enclave(key or author(), measurement, date=date(2026, 6, 1), product=Product(**product))


def test_einit_refuses_another_measurement(bench: Bench) -> None:
    ready(bench)
    assert bench.initialise(hash_of=bytes(32)) is Code.INVALID_MEASUREMENT
    assert not bench.cpu.enclave_of("test", bench.secs).initialised


@pytest.mark.parametrize("place", [20, 44 - 4, 900, 928, 944, 1024, 1026])
def test_einit_refuses_a_changed_signed_field(bench: Bench, place: int) -> None:
    whole = bytearray(signed(ready(bench)))
    whole[place] ^= 1
    assert bench.einit(bytes(whole)) in {Code.INVALID_SIGNATURE, Code.INVALID_SIG_STRUCT}


@pytest.mark.parametrize("place", [128, 516, 899, 1040, 1423, 1424, 1807])
def test_einit_refuses_a_changed_modulus_signature_or_quotient(bench: Bench, place: int) -> None:
    whole = bytearray(signed(ready(bench)))
    whole[place] ^= 1
    assert bench.einit(bytes(whole)) is Code.INVALID_SIGNATURE


@pytest.mark.parametrize("place", [0, 24, 512, 912, 1000, 1030])
def test_einit_refuses_what_is_no_sigstruct(bench: Bench, place: int) -> None:
    whole = bytearray(signed(ready(bench)))
    whole[place] ^= 0x40
    assert bench.einit(bytes(whole)) in {Code.INVALID_SIG_STRUCT, Code.INVALID_SIGNATURE}


def test_einit_asks_launch_control(bench: Bench) -> None:
    whole = signed(ready(bench))
    assert bench.einit(whole, launch_hash=b"x" * 32) is Code.INVALID_EINITTOKEN
    assert bench.einit(whole) is Code.SUCCESS


@pytest.mark.parametrize(
    "product",
    [
        {"attributes": Attributes(flags=Attribute.MODE64BIT | Attribute.DEBUG, xfrm=3).serialize()},
        {"attributes": Attributes(flags=Attribute.MODE64BIT | Attribute.PROVISIONKEY, xfrm=3).serialize()},
        {"attributes": Attributes(flags=Attribute.MODE64BIT, xfrm=7).serialize()},
        {"miscselect": 1},
    ],
)
def test_einit_refuses_other_attributes_than_signed(bench: Bench, product: dict[str, Any]) -> None:
    assert bench.einit(signed(ready(bench), **product)) is Code.INVALID_ATTRIBUTE


def test_a_mask_leaves_an_attribute_open(bench: Bench) -> None:
    debug = Attributes(flags=Attribute.MODE64BIT | Attribute.DEBUG, xfrm=3)
    mask = Attributes(flags=(1 << 64) - 1 & ~int(Attribute.DEBUG), xfrm=(1 << 64) - 1)
    whole = signed(ready(bench, draft(attributes=debug)), attribute_mask=mask.serialize())
    assert bench.einit(whole) is Code.SUCCESS


def test_a_debug_only_key_signs_no_production_enclave(bench: Bench) -> None:
    measurement = ready(bench)
    whole = sign_enclave(author(), measurement, date=date(2026, 6, 1), debug=True)
    assert bench.einit(whole) is Code.INVALID_ATTRIBUTE


def test_who_signs_is_mrsigner(bench: Bench) -> None:
    other = signing_key()
    whole = signed(ready(bench), other)
    assert bench.einit(whole) is Code.SUCCESS
    modulus = other.public_key().public_numbers().n.to_bytes(384, "little")
    assert bench.cpu.secs(bench.cpu.enclave_of("test", bench.secs)).mrsigner == hashlib.sha256(modulus).digest()


def test_einit_only_once(bench: Bench) -> None:
    whole = signed(ready(bench))
    assert bench.einit(whole) is Code.SUCCESS
    with pytest.raises(Fault, match="initialised already"):
        bench.einit(whole)


def test_family_and_product_identities_need_kss(bench: Bench) -> None:
    kss = Attributes(flags=Attribute.MODE64BIT | Attribute.KSS, xfrm=3)
    product = replace(Product(attributes=kss.serialize()), isvfamilyid=b"f" * 16, isvextprodid=b"e" * 16)
    bench.create(draft(attributes=kss, configid=b"c" * 64))
    assert bench.initialise(product) is Code.SUCCESS
    secs = bench.cpu.secs(bench.cpu.enclave_of("test", bench.secs))
    assert (secs.isvfamilyid, secs.isvextprodid, secs.configid) == (b"f" * 16, b"e" * 16, b"c" * 64)
    plain = Bench()
    plain.create()
    assert plain.initialise(Product(isvfamilyid=b"f" * 16)) is Code.SUCCESS
    assert plain.cpu.secs(plain.cpu.enclave_of("test", plain.secs)).isvfamilyid == bytes(16)


# ---------------------------------------------------------------- EREMOVE


def test_eremove_frees_pages_and_the_secs_last(bench: Bench) -> None:
    secs = bench.create()
    page = bench.add(BASE, 0x203, b"secret" + bytes(PAGE - 6))
    assert build.eremove(bench.cpu, secs) is Code.CHILD_PRESENT
    assert build.eremove(bench.cpu, page) is Code.SUCCESS
    assert page // PAGE not in bench.memory.pages
    assert build.eremove(bench.cpu, page) is Code.SUCCESS
    assert build.eremove(bench.cpu, secs) is Code.SUCCESS
    assert list(bench.cpu.epcm) == []
    with pytest.raises(Fault, match="not valid"):
        bench.add(BASE, 0x203)


def test_eremove_waits_until_threads_have_left(bench: Bench) -> None:
    bench.thread()
    eenter(bench.cpu, bench.walk, BASE, 0, REGISTERS)
    page = bench.table[(BASE + 0x5000) >> 12] * PAGE
    assert build.eremove(bench.cpu, page) is Code.ENCLAVE_ACT
    assert paging.eblock(bench.cpu, page) is Code.SUCCESS
