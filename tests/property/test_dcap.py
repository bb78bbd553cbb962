"""Laws of quotes and statements: what parses serializes to the same bytes; nothing but ParseError ever escapes."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.forge.intel import IntelForge, td_report

from cloister.endorse.intel import qe_identity, tcb_info
from cloister.errors import ParseError
from cloister.evidence import sgx, tdx
from cloister.evidence.tdx import TdReport15
from cloister.model import Tee

FORGE = IntelForge()
QUOTES = [
    *(FORGE.sgx_quote(version=version) for version in (3, 4, 5)),
    FORGE.tdx_quote(),
    FORGE.tdx_quote(version=5),
    FORGE.tdx_quote(version=5, body=td_report(TdReport15)),
]
STATEMENTS = [FORGE.tcb_info(), FORGE.tcb_info(Tee.TDX), FORGE.tcb_info(version=2), FORGE.qe_identity()]


def read(data: bytes) -> Any:
    return tdx.parse(data) if tdx.looks_like(data) else sgx.parse(data)


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A real one with some bytes changed, cut off, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "cut", "insert", "double"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case _:
                data[at:at] = data[at : at + 32]
    return bytes(data)


def test_good_ones_round_trip() -> None:
    for quote in QUOTES:
        assert read(quote).serialize() == quote


@given(mutated(QUOTES))
def test_what_parses_round_trips(data: bytes) -> None:
    try:
        quote = read(data)
    except ParseError:
        return
    assert quote.serialize() == data
    del quote.__dict__["signed"]  # what the parser kept must be what the fields give
    assert data.startswith(quote.signed)


@given(st.binary(max_size=2048))
def test_arbitrary_bytes(data: bytes) -> None:
    for parse in (sgx.parse, tdx.parse):
        with contextlib.suppress(ParseError):
            assert parse(data).serialize() == data


@given(mutated(STATEMENTS))
def test_statements_parse_or_are_refused(text: bytes) -> None:
    for parse in (tcb_info, qe_identity):
        with contextlib.suppress(ParseError):
            parse(text)
