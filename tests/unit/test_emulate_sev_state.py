"""Save areas and GHCBs of SEV-ES guests."""

import struct

import pytest

from cloister.emulate.engine_unsafe import REGISTERS
from cloister.emulate.sev.generations import GENERATIONS, generation_of
from cloister.emulate.sev.save_area import OFFSETS, VMMCALL, load_registers, post, store_registers, take
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Architecture
from cloister.measure.vmsa import guest_vmsa

VALUES = [0x0101_0101_0101_0101 * (index + 1) for index in range(20)]


def test_registers_have_the_engines_order() -> None:
    assert list(OFFSETS) == [name for name, _ in REGISTERS[Architecture.X86_64].general]


def test_registers_go_where_amd_has_them_and_come_back() -> None:
    page = memoryview(bytearray(guest_vmsa(0x401000, features=0)))
    assert load_registers(page)[list(OFFSETS).index("rip")] == 0x401000
    before = bytes(page)
    store_registers(page, VALUES)
    assert load_registers(page) == VALUES
    # AMD APM volume 2, table B-4
    assert struct.unpack_from("<Q", page, 0x1F8) == (VALUES[0],)
    assert struct.unpack_from("<Q", page, 0x178) == (VALUES[list(OFFSETS).index("rip")],)
    assert struct.unpack_from("<Q", page, 0x378) == (VALUES[list(OFFSETS).index("r15")],)
    places = {offset + byte for offset in OFFSETS.values() for byte in range(8)}
    assert all(page[at] == before[at] for at in range(PAGE) if at not in places)


def test_a_ghcb_shows_what_was_given_and_nothing_else() -> None:
    page = memoryview(bytearray(b"\xee" * PAGE))
    post(page, exit_code=VMMCALL, registers={"rax": 1, "rbx": 2}, info=(3, 4))
    assert take(page) == {"rax": 1, "rbx": 2, "exit_code": 0x81, "exit_info_1": 3, "exit_info_2": 4}
    assert struct.unpack_from("<Q", page, 0x390) == (0x81,)
    assert page[0x3F0 + (0x1F8 // 8) // 8] >> (0x1F8 // 8) % 8 & 1
    assert struct.unpack_from("<H", page, 0xFFA) == (2,)
    assert 0xEE not in page


def test_a_register_without_its_bit_is_not_given() -> None:
    page = memoryview(bytearray(PAGE))
    post(page, exit_code=VMMCALL, registers={})
    page[0x318:0x320] = b"\1" * 8
    assert "rbx" not in take(page)


def test_generations_by_name() -> None:
    assert generation_of("milan") is GENERATIONS["milan"]
    with pytest.raises(UsageError, match="naples, rome, milan, genoa"):
        generation_of("zen")
