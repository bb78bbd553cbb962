"""Whatever a host asks of the SNP firmware, in whatever order: a status, no other exception, and what must hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.forge.emulated_snp import POLICY, Stand, quick_keystore, stand_with

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp.commands import CommandFailed, PageType, Policy
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.rmp import PageState, RmpEntry
from cloister.emulate.snp.rmp_instructions import rmpupdate
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

PAGES = 64
FIRST = 5
"""The RMP of a machine so small takes pages 0 to 4."""

NUMBERS = st.integers(FIRST - 1, FIRST + 7)
METADATA = FIRST + 2
CONTENTS = st.sampled_from([FIRST + 4, FIRST + 4, FIRST + 5, FIRST + 5, FIRST + 2, FIRST])
OTHER = st.integers(0, 5)
ENTRIES = st.builds(
    RmpEntry, assigned=st.booleans(), immutable=st.booleans(), gpa=st.integers(0, 2), asid=st.integers(0, 2)
)
STEPS = st.lists(st.tuples(st.integers(0, 15), NUMBERS, CONTENTS, OTHER, ENTRIES), min_size=25, max_size=60)
Step = tuple[int, int, int, int, RmpEntry]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    directory: Path = tmp_path_factory.mktemp("snp") / "emulated"
    return quick_keystore(directory)


def commands(stand: Stand, one: int, two: int, number: int, entry: RmpEntry) -> list[Callable[[], object]]:
    """All commands, with these pages and numbers."""
    firmware = stand.firmware
    kind, guest, answers = PageType(number % 6 + 1), FIRST + number % 2, FIRST + 3
    return [
        lambda: rmpupdate(stand.rmp, one, entry),
        lambda: rmpupdate(stand.rmp, one, FIRMWARE_PAGE if number else stand.rmp[one]._replace(immutable=True)),
        lambda: rmpupdate(stand.rmp, one, RmpEntry(assigned=True, immutable=True, gpa=number, asid=1)),
        lambda: firmware.gctx_create(one),
        lambda: firmware.launch_start(one, policy=POLICY),
        lambda: firmware.activate(one, asid=number),
        lambda: firmware.launch_update(guest, two, kind),
        lambda: firmware.launch_finish(guest),
        lambda: firmware.guest_status(guest),
        lambda: firmware.guest_request(guest, two, answers),
        lambda: firmware.decommission(one),
        lambda: firmware.page_reclaim(one),
        lambda: firmware.dbg_decrypt(guest, two, answers),
        lambda: firmware.md_init(one),
        lambda: swap_out(stand, guest, two, answers),
        lambda: swap_in(stand, guest, answers, two),
    ]


def swap_out(stand: Stand, guest: int, page: int, target: int) -> None:
    """As a hypervisor does it: the page becomes a pre-swap page first."""
    rmpupdate(stand.rmp, page, stand.rmp[page]._replace(immutable=True))
    stand.firmware.page_swap_out(guest, page, target, metadata=METADATA, index=0)


def swap_in(stand: Stand, guest: int, sealed: int, page: int) -> None:
    """As a hypervisor does it: to a pre-guest page."""
    rmpupdate(stand.rmp, page, RmpEntry(assigned=True, immutable=True, gpa=1, asid=1))
    stand.firmware.page_swap_in(guest, sealed, page, metadata=METADATA, index=0)


def under_way(keystore: Keystore) -> Stand:
    """A guest that runs and one that is being launched; pages for metadata and answers, a valid one, one to add."""
    stand = stand_with(keystore, pages=PAGES)
    running, launching = stand.context(asid=1, policy=POLICY | Policy.DEBUG), stand.context(asid=2)
    stand.firmware.md_init(stand.page(FIRMWARE_PAGE))
    assert (running, launching, stand.page(FIRMWARE_PAGE)) == (FIRST, FIRST + 1, FIRST + 3)
    stand.firmware.launch_update(running, stand.pre_guest(PAGE), PageType.NORMAL)
    stand.firmware.launch_finish(running)
    stand.pre_guest(PAGE, asid=2)
    return stand


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_commands_end_in_a_status_and_keep_the_table_s_rules(keystore: Keystore, steps: list[Step]) -> None:
    stand = under_way(keystore)
    valid = {page for page in range(PAGES) if stand.rmp[page].validated}
    for choice, one, two, number, entry in steps:
        try:
            commands(stand, one, two, number, entry)[choice]()
        except CommandFailed as failed:
            assert failed.reason  # noqa: PT017 - any status is right, if it says why
        for page in range(stand.rmp.size):
            assert stand.rmp.state(page) is PageState.FIRMWARE, "the table's own pages"
        now = {page for page in range(PAGES) if stand.rmp[page].validated}
        assert choice in {6, 15} or now <= valid, "only launching and swapping in make pages valid"
        valid = now
        owned = [asid for asid in stand.controller.key_ids() if asid not in {HOST_KEY, 1 << 20}]
        contexts = [page for page in range(PAGES) if stand.rmp.state(page) is PageState.CONTEXT]
        assert len(owned) <= len(contexts), "no key without a guest"


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_of_a_host_is_answered(keystore: Keystore, message: bytes) -> None:
    stand = stand_with(keystore, pages=PAGES)
    context = stand.context()
    stand.firmware.launch_finish(context)
    request, response = (
        stand.page(content=message.ljust(PAGE, b"\0")),
        stand.page(RmpEntry(assigned=True, immutable=True)),
    )
    with pytest.raises(CommandFailed):
        stand.firmware.guest_request(context, request, response)
    assert stand.hypervisor.read(response) == bytes(PAGE)
