"""Images, firmware and descriptions under mutation: measured, or refused with the place, and nothing else."""

import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.enclave_elf import LOADER, oe_image, oe_properties, payload
from tests.forge.sdk_enclave import sdk_image
from tests.forge.tdvf import kernel, tdvf
from tests.unit.test_measure_sgxs import STREAM

from cloister.errors import ParseError
from cloister.measure import elf
from cloister.measure.authenticode import authenticode
from cloister.measure.open_enclave import ego_enclave, oe_enclave
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags
from cloister.measure.sgx_sdk import sdk_enclave
from cloister.measure.sgxs import parse_sgxs
from cloister.measure.sigstruct import Product, complete, parse_unsigned, unsigned
from cloister.measure.tdvf import parse_tdvf

FEW = 300
DATE = dt.date(2026, 1, 31)
RUNTIME = oe_image(oe_properties(), wants_module=True).build()
READERS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "sgxs": (STREAM, lambda data: parse_sgxs(data, canonical=False)),
    "elf": (LOADER.build(), elf.parse_elf),
    "sdk": (sdk_image(), lambda data: sdk_enclave(data, most_pages=FEW)),
    "oe": (oe_image(oe_properties()).build(), lambda data: oe_enclave(data, most_pages=FEW)),
    "ego": (payload(oe_properties(), b"{}"), lambda data: ego_enclave(RUNTIME, data, most_pages=FEW)),
    "tdvf": (tdvf(), parse_tdvf),
    "pe": (kernel(certificate=b"x" * 32), authenticode),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150)
@given(data=st.data())
def test_mutated_images_are_read_or_refused(name: str, data: st.DataObject) -> None:
    good, read = READERS[name]
    image = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(image) - 9))
        image[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8) | st.just(b"\xff" * 8))
    cut = data.draw(st.just(len(image)) | st.integers(0, len(image)))
    with patch.object(elf, "LARGEST_MEMORY", 1 << 20), contextlib.suppress(ParseError):
        read(bytes(image[:cut]))


@given(
    pages=st.lists(
        st.tuples(st.integers(0, 63), st.booleans(), st.lists(st.integers(0, 15), unique=True, max_size=16)),
        unique_by=lambda one: one[0], max_size=10,
    ),
)  # fmt: skip
def test_any_stream_that_is_written_is_read(pages: list[tuple[int, bool, list[int]]]) -> None:
    written: list[bytes] = []
    running = EnclaveMeasurement.ecreate(1, 64 * 4096, write=written.append)
    for number, thread, chunks in pages:
        running.eadd(number * 4096, SecinfoFlags.TCS if thread else SecinfoFlags.REG | SecinfoFlags.READ)
        for chunk in chunks:
            running.eextend(number * 4096 + chunk * 256, bytes([number]) * 256)
    found = parse_sgxs(b"".join(written), canonical=False)
    assert found.mrenclave == running.digest()
    assert (found.pages, found.chunks) == (len(pages), sum(len(one[2]) for one in pages))
    assert found.canonical is ([one[0] for one in pages] == sorted(one[0] for one in pages))


@given(
    mrenclave=st.binary(min_size=32, max_size=32), product=st.integers(0, 0xFFFF), version=st.integers(0, 0xFFFF),
    attributes=st.binary(min_size=16, max_size=16), date=st.dates(), debug=st.booleans(),
)  # fmt: skip
def test_what_is_prepared_is_what_is_signed(
    mrenclave: bytes,
    product: int,
    version: int,
    attributes: bytes,
    date: dt.date,
    debug: bool,  # noqa: FBT001
) -> None:
    said = Product(attributes=attributes, isvprodid=product, isvsvn=version)
    one = unsigned(mrenclave, date=date, product=said, debug=debug)
    assert len(one.signed) == 256
    assert parse_unsigned(one.signed) == one


@given(modulus=st.integers(1 << 3071, (1 << 3072) - 1), part=st.integers(1, (1 << 3071) - 1))
def test_the_quotients_let_the_processor_verify_without_dividing(modulus: int, part: int) -> None:
    one = complete(unsigned(bytes(32), date=DATE), modulus=modulus, exponent=3, signature=part)
    q1, q2 = (int.from_bytes(value, "little") for value in (one.q1, one.q2))
    assert part**3 - q1 * part * modulus - q2 * modulus == pow(part, 3, modulus)
