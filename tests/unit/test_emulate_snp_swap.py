"""SNP pages on the host's disk: what comes back is what went out, once, where it was."""

import os
from dataclasses import dataclass

import pytest
from tests.forge.emulated_snp import POLICY, Stand, program, quick_keystore, stand_with

from cloister.emulate.paging import Refused
from cloister.emulate.snp.commands import CommandFailed, Policy, Status
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.rmp import ALL, PageState, RmpEntry
from cloister.emulate.snp.rmp_instructions import Result, rmpupdate
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE

PLACE = 1
"""The guest page that is swapped: the program's first, behind the boot parameters."""


@dataclass
class Swapping:
    """A running guest whose host swaps."""

    stand: Stand
    metadata: int
    content: bytes

    @property
    def context(self) -> int:
        return self.stand.hypervisor.context

    def out(self, index: int = 0) -> bytes:
        """Swap the page out; what the host then stores."""
        page = self.stand.hypervisor.table[PLACE]
        entry = self.stand.rmp[page]
        assert rmpupdate(self.stand.rmp, page, entry._replace(immutable=True)) is Result.SUCCESS
        target = self.stand.page(FIRMWARE_PAGE)
        self.stand.firmware.page_swap_out(self.context, page, target, metadata=self.metadata, index=index)
        assert self.stand.rmp.state(page) is PageState.RECLAIM
        return self.stand.hypervisor.read(target)

    def back(self, sealed: bytes, index: int = 0, gpa: int = PLACE) -> int:
        """Swap it in from what the host stored, to a fresh page."""
        source, target = self.stand.page(content=sealed), self.stand.pre_guest(gpa * PAGE)
        self.stand.firmware.page_swap_in(self.context, source, target, metadata=self.metadata, index=index)
        self.stand.hypervisor.table[PLACE] = target
        return target

    def write(self, content: bytes) -> None:
        """What the guest does."""
        self.stand.cache.put(self.stand.hypervisor.table[PLACE], 1, content)

    def read(self) -> bytes:
        page = self.stand.hypervisor.table[PLACE]
        return bytes(self.stand.cache.frames[self.stand.cache.frame(page, 1, write=False, fetch=False)])


def started(keystore: Keystore, policy: int = POLICY) -> Swapping:
    stand, content = stand_with(keystore), os.urandom(PAGE)
    stand.hypervisor.launch(GuestLayout.of(program(content)), GuestOptions(), policy)
    metadata = stand.page(FIRMWARE_PAGE)
    stand.firmware.md_init(metadata)
    return Swapping(stand, metadata, content)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated")


@pytest.fixture
def swapping(keystore: Keystore) -> Swapping:
    return started(keystore)


def refuses(swapping: Swapping, status: Status, sealed: bytes, index: int = 0, gpa: int = PLACE) -> None:
    with pytest.raises(CommandFailed) as caught:
        swapping.back(sealed, index, gpa)
    assert caught.value.status is status


def test_a_page_comes_back_as_it_went_out(swapping: Swapping) -> None:
    first = swapping.stand.hypervisor.table[PLACE]
    swapping.stand.rmp[first] = swapping.stand.rmp[first]._replace(permissions=(ALL, 1, 2, 3))
    sealed = swapping.out()
    assert swapping.content not in sealed
    page = swapping.back(sealed)
    assert page != first
    assert swapping.read() == swapping.content
    entry = swapping.stand.rmp[page]
    assert swapping.stand.rmp.state(page) is PageState.GUEST_VALID
    assert (entry.gpa, entry.permissions) == (PLACE, (ALL, 1, 2, 3))


def test_an_older_copy_is_never_taken(swapping: Swapping) -> None:
    old = swapping.out()
    swapping.back(old)
    swapping.write(b"newer".ljust(PAGE, b"\0"))
    new = swapping.out()
    refuses(swapping, Status.BAD_MEASUREMENT, old)
    swapping.back(new)
    refuses(swapping, Status.INVALID_MDATA_ENTRY, new)
    assert swapping.read().startswith(b"newer")


def test_nothing_else_is_taken_either(swapping: Swapping) -> None:
    sealed = swapping.out(index=5)
    changed = bytearray(sealed)
    changed[100] ^= 1
    refuses(swapping, Status.BAD_MEASUREMENT, bytes(changed), index=5)
    refuses(swapping, Status.INVALID_MDATA_ENTRY, sealed, index=5, gpa=PLACE + 7)
    refuses(swapping, Status.INVALID_MDATA_ENTRY, sealed, index=4)
    refuses(swapping, Status.INVALID_MDATA_ENTRY, sealed, index=64)
    swapping.back(sealed, index=5)


def test_the_host_cannot_write_the_metadata(swapping: Swapping) -> None:
    with pytest.raises(Refused, match="bit 31"):
        swapping.stand.hypervisor.write(swapping.metadata, bytes(PAGE))
    assert rmpupdate(swapping.stand.rmp, swapping.metadata, RmpEntry()) is Result.FAIL_PERMISSION


def test_which_pages_go(swapping: Swapping) -> None:
    stand = swapping.stand
    swapping.out()
    target, valid = stand.page(FIRMWARE_PAGE), stand.hypervisor.table[0]
    with pytest.raises(CommandFailed) as caught:
        stand.firmware.page_swap_out(swapping.context, valid, target, metadata=swapping.metadata, index=1)
    assert caught.value.status is Status.INVALID_PAGE_STATE, "it must be made immutable first"
    assert rmpupdate(stand.rmp, valid, stand.rmp[valid]._replace(immutable=True)) is Result.SUCCESS
    with pytest.raises(CommandFailed) as caught:
        stand.firmware.page_swap_out(swapping.context, valid, target, metadata=swapping.metadata, index=0)
    assert caught.value.status is Status.INVALID_MDATA_ENTRY, "the entry is in use"


def test_a_policy_can_forbid_it(keystore: Keystore) -> None:
    swapping = started(keystore, int(POLICY | Policy.PAGE_SWAP_DISABLE))
    with pytest.raises(CommandFailed) as caught:
        swapping.out()
    assert caught.value.status is Status.POLICY_FAILURE
