"""Decoding CPUID: registers laid out as the manuals describe them, and what this machine answers."""

from typing import cast

import pytest

from cloister.doctor import processor
from cloister.doctor.processor import LEAVES, Leaf, NoProcessor, Processor, Registers
from cloister.doctor.processor_unsafe import _execute, _from_device, read_processor

ZERO = Registers(0, 0, 0, 0)
INTEL = Registers(0x24, 0x756E6547, 0x6C65746E, 0x49656E69)
AMD = Registers(0x10, 0x68747541, 0x444D4163, 0x69746E65)


def made_of(answers: dict[Leaf, Registers]) -> Processor:
    basics = {Leaf(0): INTEL, Leaf(0x80000000): Registers(0x80000028, 0, 0, 0)}
    return Processor(source="a test", registers=dict.fromkeys(LEAVES, ZERO) | basics | answers)


def test_sgx_with_two_epc_sections() -> None:
    """Two sections, as on a two-socket server: 64 GiB - 256 MiB at 4 GiB and 96 MiB with low bits set in ECX."""
    found = processor.sgx(
        made_of(
            {
                Leaf(7): Registers(0, 1 << 2, 1 << 30, 0),
                Leaf(0x12): Registers(0b11, 0, 0, 0),
                Leaf(0x12, 2): Registers(0x00000001, 0x1, 0xF0000001, 0xF),
                Leaf(0x12, 3): Registers(0x80000001, 0x0, 0x06000001, 0x0),
            }
        )
    )
    assert (found.supported, found.launch_control, found.sgx1, found.sgx2) == (True, True, True, True)
    assert found.epc == (64 << 30) - (256 << 20) + (96 << 20)


def test_sgx_disabled_in_firmware_has_no_epc() -> None:
    found = processor.sgx(made_of({Leaf(7): Registers(0, 1 << 2, 0, 0)}))
    assert found.supported
    assert found.epc == 0


def test_an_epc_section_of_another_type_does_not_count() -> None:
    leaves = {Leaf(7): Registers(0, 1 << 2, 0, 0), Leaf(0x12, 2): Registers(0x2, 0, 0x10000000, 0)}
    assert processor.sgx(made_of(leaves)).epc == 0


def test_no_sgx() -> None:
    assert not processor.sgx(made_of({})).supported


def test_leaves_beyond_the_last_one_are_not_believed() -> None:
    """An old Intel processor answers leaf 12H with the data of its highest leaf."""
    old = INTEL._replace(eax=6)
    assert not processor.sgx(made_of({Leaf(0): old, Leaf(7): Registers(0, 1 << 2, 0, 0)})).supported
    last = Registers(0x80000008, 0, 0, 0)
    assert not processor.amd(made_of({Leaf(0x80000000): last, Leaf(0x8000001F): Registers(0b11111, 0, 0, 0)})).sev


def test_sev_snp_server() -> None:
    """The five feature bits among others; C-bit 51 beside another field of EBX; 509 ASIDs, plain SEV from 100."""
    found = processor.amd(made_of({Leaf(0x8000001F): Registers(0x0101FD3F, 0x00004173, 0x1FD, 0x64)}))
    assert (found.sme, found.sev, found.sev_es, found.sev_snp) == (True, True, True, True)
    assert (found.c_bit, found.asids, found.first_non_es_asid) == (51, 509, 100)


def test_sev_without_snp() -> None:
    found = processor.amd(made_of({Leaf(0x8000001F): Registers(0b1011, 47, 15, 5)}))
    assert (found.sev_es, found.sev_snp, found.c_bit, found.asids) == (True, False, 47, 15)


def test_tdx_guest_signature() -> None:
    ebx, edx, ecx = (int.from_bytes(part, "little") for part in (b"Inte", b"lTDX", b"    "))
    assert processor.in_tdx_guest(made_of({Leaf(0x21): Registers(0, ebx, ecx, edx)}))
    assert not processor.in_tdx_guest(made_of({}))


def test_this_processor_answers() -> None:
    found = read_processor(LEAVES)
    if isinstance(found, NoProcessor):
        pytest.skip(found.reason)
    assert found.registers[Leaf(0)].eax > 0, "the number of the last leaf"
    assert set(found.registers) == set(LEAVES)


def test_the_device_and_the_instruction_agree() -> None:
    try:
        said = _from_device(Leaf(0))
    except OSError as error:
        pytest.skip(f"/dev/cpu/0/cpuid: {error.strerror}")
    assert _execute(Leaf(0)) == cast("tuple[int, ...]", said)


def test_without_the_device_the_instruction_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloister.doctor.processor_unsafe.DEVICE", "/nonexistent")
    found = read_processor((Leaf(0), Leaf(0x80000000)))
    if isinstance(found, NoProcessor):
        pytest.skip(found.reason)
    assert found.source == "the CPUID instruction"
    assert found.registers[Leaf(0)].eax > 0
