"""Laws of AMD's evidence: what parses serializes to the same bytes; nothing but ParseError ever escapes."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.amd import platform, signed_report
from tests.forge.amd_sev import sev_platform

from cloister._x509 import Certificate
from cloister.endorse.amd import ek_info
from cloister.errors import ParseError
from cloister.evidence import sev, snp
from cloister.evidence.sev_chain import Usage, parse_ca_certificate, parse_certificate
from cloister.evidence.snp import Product
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.measure.ovmf import parse_firmware
from cloister.measure.sev import Kernel

REPORTS = [
    signed_report(platform(product).ek(), product=product, version=version).serialize()
    for product in Product
    for version in (2, 3, 4, 5)
]
STAND = sev_platform()
SEV = [STAND.attestation().serialize(), STAND.launch().serialize()]
CHAIN = STAND.chain
EKS = [platform().ek().certificate.encoded, platform(Product.TURIN).ek().certificate.encoded]


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A good one with some bytes changed, cut off, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "set", "set", "cut", "insert", "double"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case _:
                data[at:at] = data[at : at + 32]
    return bytes(data)


def round_trips(parse: Callable[[bytes], snp.Report | sev.SevEvidence], data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert parse(data).serialize() == data


@pytest.mark.parametrize("data", REPORTS)
def test_good_reports_round_trip(data: bytes) -> None:
    assert snp.looks_like(data)
    assert snp.parse(data).serialize() == data
    assert snp.parse(data).signed == data[:0x2A0]


@given(mutated(REPORTS))
def test_what_parses_as_a_report_round_trips(data: bytes) -> None:
    round_trips(snp.parse, data)


@given(st.sampled_from(REPORTS), st.integers(0, 1183), st.integers(0, 255))
def test_one_changed_byte_leaves_a_report_or_none(original: bytes, at: int, value: int) -> None:
    data = original[:at] + bytes([value]) + original[at + 1 :]
    round_trips(snp.parse, data)


@given(mutated(SEV))
def test_what_parses_as_sev_evidence_round_trips(data: bytes) -> None:
    round_trips(sev.parse, data)


@given(st.binary(max_size=2400))
def test_arbitrary_bytes(data: bytes) -> None:
    for parse in (snp.parse, sev.parse):
        round_trips(parse, data)
    assert snp.looks_like(data) in {True, False}
    assert sev.looks_like(data) in {True, False}


@given(mutated([bytes(48) + bytes(32) + b"\1" + bytes(15), b"\1\0\0\0\1" + bytes(4091)]))
def test_id_blocks(data: bytes) -> None:
    for record in (IdAuth, IdBlock):
        with contextlib.suppress(ParseError):
            assert record.parse(data).serialize() == data


@given(mutated([CHAIN.pek.serialize(), CHAIN.cek.serialize(), CHAIN.pdh.serialize()]), st.sampled_from(Usage))
def test_sev_certificates(data: bytes, usage: Usage) -> None:
    with contextlib.suppress(ParseError):
        if usage in {Usage.ARK, Usage.ASK}:
            assert parse_ca_certificate(data, usage).serialize() == data
        elif usage is not Usage.INVALID:
            certificate = parse_certificate(data, usage)
            assert certificate.serialize() == data
            assert certificate.key.usable
            assert certificate.signatures


@given(mutated([CHAIN.ark.serialize(), CHAIN.ask.serialize()]), st.sampled_from([Usage.ARK, Usage.ASK]))
def test_sev_authorities(data: bytes, usage: Usage) -> None:
    with contextlib.suppress(ParseError):
        assert parse_ca_certificate(data, usage).serialize() == data


@given(mutated(EKS))
def test_endorsement_key_certificates(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        info = ek_info(Certificate.parse(data))
        assert len(info.tcb) == 8
        assert bool(info.hw_id) != bool(info.csp_id)


@given(st.binary(max_size=512), st.integers(0, 0xFFFF))
def test_firmware_tables_are_read_or_refused(entries: bytes, length: int) -> None:
    """Whatever stands before a table's end."""
    guid = bytes.fromhex("de82b596b21ff745baeaa366c55a082d")
    image = (entries + length.to_bytes(2, "little") + guid + bytes(32)).rjust(4096, b"\0")
    with contextlib.suppress(ParseError):
        assert parse_firmware(image).gpa == (1 << 32) - 4096


@given(st.binary(), st.binary(), st.text())
def test_tables_of_kernel_hashes_have_one_size(image: bytes, initrd: bytes, line: str) -> None:
    assert len(Kernel(image=image, initrd=initrd, command_line=line).hashes()) == 176
