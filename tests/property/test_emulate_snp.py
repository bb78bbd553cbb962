"""Whatever a hypervisor does with the RMP, a guest never finds a page valid that it did not validate there itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import Refused
from cloister.emulate.sev.save_area import OFFSETS
from cloister.emulate.snp.rmp import CHECKED, ReverseMap, RmpEntry, decoded, encoded, expected_word
from cloister.emulate.snp.rmp_instructions import Caller, Result, psmash, pvalidate, rmpadjust, rmpupdate
from cloister.emulate.snp.vmsa import REGISTER_PROTECTION, load_registers, places_of, save_registers
from cloister.measure.image import PAGE

BYTE = st.integers(0, 255)
ENTRIES = st.builds(
    RmpEntry,
    assigned=st.booleans(),
    large=st.booleans(),
    immutable=st.booleans(),
    gpa=st.integers(0, (1 << 39) - 1),
    asid=st.integers(0, 1023),
    vmsa=st.booleans(),
    validated=st.booleans(),
    permissions=st.tuples(BYTE, BYTE, BYTE, BYTE),
)


@given(ENTRIES)
def test_an_entry_survives_the_table(entry: RmpEntry) -> None:
    assert decoded(*encoded(entry)) == entry


@given(ENTRIES, st.integers(0, (1 << 39) - 1), st.integers(1, 1023))
def test_the_quick_check_is_the_slow_one(entry: RmpEntry, gpa: int, asid: int) -> None:
    low, _ = encoded(entry)
    quick = low & CHECKED == expected_word(gpa, asid)
    slow = entry.assigned and not entry.large and entry.validated and (entry.gpa, entry.asid) == (gpa, asid)
    assert quick == slow


# ---------------------------------------------------------------- one hypervisor, two guests, few pages

FIRST, COUNT = 512, 4
PAGES = st.integers(FIRST, FIRST + COUNT - 1)
GPAS = st.integers(1, 3)
GUESTS = st.integers(1, 2)
HOST = st.tuples(
    st.just("rmpupdate"),
    PAGES,
    st.builds(
        RmpEntry,
        assigned=st.booleans(),
        large=st.booleans(),
        gpa=st.sampled_from([0, 1, 2, 512]),
        asid=st.integers(0, 2),
        validated=st.booleans(),
    ),
)
SMASH = st.tuples(st.just("psmash"), PAGES, st.none())
GUEST = st.tuples(st.just("pvalidate"), PAGES, st.tuples(GUESTS, GPAS, st.booleans()))
ADJUST = st.tuples(st.just("rmpadjust"), PAGES, st.tuples(GUESTS, GPAS, st.booleans()))


@settings(max_examples=300)
@given(st.lists(st.one_of(HOST, SMASH, GUEST, ADJUST), max_size=25))
def test_validation_is_the_guest_s_own(steps: list[tuple[str, int, object]]) -> None:
    """Against a model that knows only: a guest validates a place, any other owner or place takes that away."""
    rmp = ReverseMap(Dram(1024))
    mine: set[tuple[int, int, int]] = set()
    for name, page, operand in steps:
        if name == "rmpupdate" and isinstance(operand, RmpEntry):
            before = rmp.covering(page)
            done = rmpupdate(rmp, page, operand) is Result.SUCCESS
            if done and (operand.asid, operand.gpa, operand.assigned, operand.large) != (
                before.asid, before.gpa, before.assigned, before.large,
            ):  # fmt: skip
                mine = {one for one in mine if one[0] != page}
        elif name == "psmash":
            psmash(rmp, page)
        elif isinstance(operand, tuple):
            _guest(rmp, name, page, operand, mine)
        for place in range(FIRST, FIRST + COUNT):
            entry = rmp[place]
            assert not entry.validated or (place, entry.asid, entry.gpa) in mine


def _guest(
    rmp: ReverseMap, name: str, page: int, operand: tuple[int, int, bool], mine: set[tuple[int, int, int]]
) -> None:
    asid, gpa, yes = operand
    try:
        if name == "pvalidate":
            done = pvalidate(rmp, page, Caller(asid, 0), gpa=gpa, validate=yes)
            if done.result is Result.SUCCESS:
                (mine.add if yes else mine.discard)((page, asid, gpa))
        else:
            rmpadjust(rmp, page, Caller(asid, 0), gpa=gpa, target=1, permissions=15, vmsa=yes)
    except Refused:
        return


# ---------------------------------------------------------------- save areas


@given(st.lists(st.integers(0, 2**64 - 1), min_size=len(OFFSETS), max_size=len(OFFSETS)), st.booleans())
def test_registers_come_back(values: list[int], protected: bool) -> None:  # noqa: FBT001 - drawn
    page = memoryview(bytearray(PAGE))
    page[0x3B0:0x3B8] = (REGISTER_PROTECTION if protected else 0).to_bytes(8, "little")
    places = places_of([*OFFSETS])
    save_registers(page, places, values)
    assert load_registers(page, places) == values
