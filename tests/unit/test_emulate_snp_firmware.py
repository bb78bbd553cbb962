"""The SNP firmware: states, checks and status codes of its commands, and that it measures what was measured offline."""

import os
from collections.abc import Callable

import pytest
from tests.forge.emulated_snp import POLICY, Stand, program, quick_keystore, stand_with

from cloister.emulate.paging import HOST_KEY, Refused
from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.commands import Command, CommandFailed, GuestState, PageType, Policy, Status
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.guest_pages import CpuidEntry, SecretsPage, cpuid_page, parse_cpuid_page
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.launch import VMSA_GPA
from cloister.emulate.snp.rmp import PageState, RmpEntry
from cloister.emulate.snp.rmp_instructions import Result, rmpupdate
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence.snp import Product
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE
from cloister.measure.snp import guest_digest
from cloister.measure.vmsa import CPU_MODELS, Vmm, vmsa


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated", *Product)


@pytest.fixture
def stand(keystore: Keystore) -> Stand:
    return stand_with(keystore)


def refuses(status: Status, act: Callable[[], object], words: str = "") -> None:
    with pytest.raises(CommandFailed) as caught:
        act()
    assert caught.value.status is status
    assert words in str(caught.value)


# ---------------------------------------------------------------- platform


def test_the_table_is_the_firmware_s_after_init(stand: Stand) -> None:
    for page in range(stand.rmp.size):
        assert stand.rmp.state(page) is PageState.FIRMWARE
    assert stand.rmp.state(stand.rmp.size) is PageState.HYPERVISOR
    with pytest.raises(Refused):
        stand.hypervisor.write(0, bytes(PAGE))
    assert rmpupdate(stand.rmp, 0, RmpEntry()) is Result.FAIL_PERMISSION
    refuses(Status.INVALID_ADDRESS, lambda: stand.firmware.page_reclaim(0))
    refuses(Status.INVALID_ADDRESS, lambda: stand.firmware.gctx_create(0))
    refuses(Status.INVALID_ADDRESS, lambda: stand.firmware.md_init(0))


def test_init_once_and_nothing_before_or_after(stand: Stand) -> None:
    refuses(Status.INVALID_PLATFORM_STATE, stand.firmware.snp_init)
    context = stand.context()
    stand.firmware.snp_shutdown()
    assert stand.controller.key_ids() == [HOST_KEY], "every guest's key and the firmware's own are gone"
    refuses(Status.INVALID_PLATFORM_STATE, lambda: stand.firmware.guest_status(context))
    refuses(Status.INVALID_PLATFORM_STATE, stand.firmware.df_flush)
    refuses(Status.INVALID_PLATFORM_STATE, stand.firmware.snp_shutdown)


def test_history_names_commands_and_how_they_ended(stand: Stand) -> None:
    stand.firmware.history.clear()
    page = stand.page(FIRMWARE_PAGE)
    stand.firmware.gctx_create(page)
    refuses(Status.INVALID_PAGE_STATE, lambda: stand.firmware.gctx_create(page))
    assert [(done.command, done.status) for done in stand.firmware.history] == [
        (Command.SNP_GCTX_CREATE, Status.SUCCESS), (Command.SNP_GCTX_CREATE, Status.INVALID_PAGE_STATE),
    ]  # fmt: skip


# ---------------------------------------------------------------- a guest's life


def test_a_life_from_creation_to_decommission(stand: Stand) -> None:
    firmware = stand.firmware
    context = stand.context(started=False)
    assert stand.rmp.state(context) is PageState.CONTEXT
    assert firmware.guest_status(context) == (GuestState.INIT, 0, 0)
    firmware.launch_start(context, policy=POLICY)
    firmware.activate(context, asid=7)
    assert firmware.guest_status(context) == (GuestState.LAUNCH, 7, POLICY)
    firmware.launch_finish(context)
    assert firmware.guest_status(context) == (GuestState.RUNNING, 7, POLICY)
    firmware.decommission(context)
    assert stand.rmp.state(context) is PageState.FIRMWARE
    assert 7 not in stand.controller.key_ids()
    firmware.page_reclaim(context)
    assert stand.rmp.state(context) is PageState.RECLAIM
    assert rmpupdate(stand.rmp, context, RmpEntry()) is Result.SUCCESS


def test_commands_out_of_order(stand: Stand) -> None:
    firmware = stand.firmware
    fresh, running = stand.context(started=False), stand.context()
    firmware.launch_finish(running)
    page = stand.pre_guest(0x1000)
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.activate(fresh, asid=2))
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.launch_update(fresh, page, PageType.NORMAL))
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.launch_finish(fresh))
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.launch_start(running, policy=POLICY))
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.launch_update(running, page, PageType.NORMAL))
    refuses(Status.INVALID_GUEST_STATE, lambda: firmware.launch_finish(running))
    refuses(Status.INVALID_PAGE_STATE, lambda: firmware.launch_start(page, policy=POLICY))
    refuses(Status.INVALID_ADDRESS, lambda: firmware.guest_status(1 << 30))


def test_asids(stand: Stand) -> None:
    firmware = stand.firmware
    first, second = stand.context(asid=1), stand.context(started=False)
    firmware.launch_start(second, policy=POLICY)
    refuses(Status.ASID_OWNED, lambda: firmware.activate(second, asid=1))
    refuses(Status.INVALID_ASID, lambda: firmware.activate(second, asid=0), "1 to 509")
    refuses(Status.INVALID_ASID, lambda: firmware.activate(second, asid=510), "1 to 509")
    refuses(Status.ACTIVE, lambda: firmware.activate(first, asid=3))
    firmware.decommission(first)
    refuses(Status.DFFLUSH_REQUIRED, lambda: firmware.activate(second, asid=1))
    firmware.df_flush()
    firmware.activate(second, asid=1)


@pytest.mark.parametrize(
    ("product", "policy", "words"),
    [
        (Product.MILAN, 0x10000, "bit 17"),
        (Product.MILAN, POLICY | 1 << 26, "bits above 25"),
        (Product.MILAN, POLICY | 1 << 8 | 56, "ABI is 1.55"),
        (Product.MILAN, POLICY | 2 << 8, "ABI is 1.55"),
        (Product.MILAN, int(Policy.ONE), "SMT"),
        (Product.MILAN, POLICY | Policy.MEM_AES_256_XTS, "AES-256-XTS"),
        (Product.TURIN, POLICY | Policy.CIPHERTEXT_HIDING_DRAM, "ciphertext hiding"),
        (Product.TURIN, POLICY | Policy.RAPL_DIS, "RAPL"),
    ],
)
def test_policies_that_the_platform_cannot_honour(
    keystore: Keystore, product: Product, policy: int, words: str
) -> None:
    stand = stand_with(keystore, product)
    context = stand.context(started=False)
    refuses(Status.POLICY_FAILURE, lambda: stand.firmware.launch_start(context, policy=policy), words)


def test_policies_that_it_can(keystore: Keystore) -> None:
    stand = stand_with(keystore, Product.TURIN, hiding=True)
    wanted = POLICY | Policy.CIPHERTEXT_HIDING_DRAM | Policy.MEM_AES_256_XTS | 1 << 8 | 55
    stand.context(policy=int(wanted))
    assert stand.controller.cipher(1).name == "AES-256-XTS"


# ---------------------------------------------------------------- launch


def test_the_running_digest_is_that_of_independent_code(stand: Stand) -> None:
    """The values were computed with virtee/sev-snp-measure's code, page by page."""
    context = stand.context()
    update = stand.firmware.launch_update
    update(context, stand.pre_guest(0x1000), PageType.NORMAL)
    assert stand.firmware.launch_digest(context).hex().startswith("e6e4d78904d9d6b33c0cbfd121998fd2")
    update(context, stand.pre_guest(0x2000, os.urandom(PAGE)), PageType.ZERO)
    assert stand.firmware.launch_digest(context).hex().startswith("8233fbe1ec826b22907aa9397de35783")
    update(context, stand.pre_guest(0x3000), PageType.SECRETS)
    update(context, stand.pre_guest(0x4000, cpuid_page([])), PageType.CPUID)
    assert stand.firmware.launch_digest(context).hex() == (
        "04d14c17b5b6ce5fbe6a523e58745486f58f1c3ccdf25bfb87f919ec641c2d7806ba5940ca1fa98768f3c0a15cbf0b7c"
    )


def test_unmeasured_pages_count_by_place_only(stand: Stand) -> None:
    first, second, elsewhere = (stand.context(asid=asid) for asid in (1, 2, 3))
    for context, asid, gpa in ((first, 1, 0x1000), (second, 2, 0x1000), (elsewhere, 3, 0x2000)):
        page = stand.pre_guest(gpa, os.urandom(PAGE), asid=asid)
        stand.firmware.launch_update(context, page, PageType.UNMEASURED)
    digests = [stand.firmware.launch_digest(context) for context in (first, second, elsewhere)]
    assert digests[0] == digests[1] != digests[2]


def test_a_save_area_is_measured_and_marked(stand: Stand) -> None:
    context = stand.context()
    page = stand.pre_guest(VMSA_GPA, vmsa(0xFFFFFFF0, cpu=CPU_MODELS["EPYC-Milan"], features=1, vmm=Vmm.QEMU))
    stand.firmware.launch_update(context, page, PageType.VMSA)
    assert stand.rmp[page].vmsa
    assert stand.rmp.state(page) is PageState.GUEST_VALID


@pytest.mark.parametrize("product", list(Product))
def test_a_whole_launch_measures_what_was_measured_offline(keystore: Keystore, product: Product) -> None:
    stand = stand_with(keystore, product)
    layout = GuestLayout.of(program(b"first", b"second", b""))
    stand.hypervisor.launch(layout, GuestOptions(), POLICY)
    assert stand.firmware.launch_digest(stand.hypervisor.context) == guest_digest(layout).value
    other = GuestLayout.of(program(b"first", b"secone", b""))
    assert guest_digest(other) != guest_digest(layout)


def test_pages_are_encrypted_in_place_and_validated(stand: Stand) -> None:
    context, content = stand.context(), b"in plain until the launch".ljust(PAGE, b".")
    page = stand.pre_guest(0x1000, content)
    stand.settle()
    assert bytes(stand.dram.page(page)) == content
    stand.firmware.launch_update(context, page, PageType.NORMAL)
    stand.settle()
    assert b"in plain" not in bytes(stand.dram.page(page))
    assert stand.hypervisor.read(page) == bytes(stand.dram.page(page)), "the host reads ciphertext"
    assert bytes(stand.cache.frames[stand.cache.frame(page, 1, write=False, fetch=False)]) == content
    assert stand.rmp.state(page) is PageState.GUEST_VALID


def test_which_pages_launch_update_takes(stand: Stand) -> None:
    context = stand.context()
    others, plain, taken = stand.pre_guest(0x1000, asid=2), stand.page(), stand.pre_guest(0x2000)
    stand.firmware.launch_update(context, taken, PageType.NORMAL)
    update = stand.firmware.launch_update
    refuses(Status.INVALID_PAGE_OWNER, lambda: update(context, others, PageType.NORMAL))
    refuses(Status.INVALID_PAGE_STATE, lambda: update(context, plain, PageType.NORMAL))
    refuses(Status.INVALID_PAGE_STATE, lambda: update(context, taken, PageType.NORMAL))
    stand.rmp[512] = RmpEntry(assigned=True, large=True, immutable=True, gpa=512, asid=1)
    refuses(Status.INVALID_PAGE_SIZE, lambda: update(context, 513, PageType.NORMAL))


def test_the_secrets_page_holds_the_keys_of_this_guest(stand: Stand) -> None:
    context = stand.context()
    page = stand.pre_guest(0x3000, b"what the host would like to be there".ljust(PAGE))
    stand.firmware.launch_update(context, page, PageType.SECRETS)
    frame = stand.cache.frame(page, 1, write=False, fetch=False)
    secrets = SecretsPage.parse(bytes(stand.cache.frames[frame]))
    guest = contexts.load(stand.cache, context)
    keys = [secrets.key(number) for number in range(4)]
    assert keys == [guest.channel_key(number) for number in range(4)]
    assert len({*keys, bytes(32)}) == 5, "four different keys, none of them zero"
    assert secrets.fms == stand.chip.signature


def test_the_context_and_all_keys_are_ciphertext_in_dram(stand: Stand) -> None:
    context = stand.context()
    stand.firmware.launch_update(context, stand.pre_guest(0x3000), PageType.SECRETS)
    guest = contexts.load(stand.cache, context)
    stand.settle()
    everything = b"".join(bytes(stand.dram.page(page)) for page in range(stand.dram.pages))
    for secret in (guest.vek[:16], guest.vek[16:32], guest.vmpck0, guest.vmpck3, guest.vmrk, guest.swap_key):
        assert secret not in everything
    with pytest.raises(Refused):
        stand.hypervisor.write(context, bytes(PAGE))


def test_a_cpuid_page_is_cut_down_to_what_the_processor_has(stand: Stand) -> None:
    context = stand.context()
    honest = stand.chip.cpuid
    stand.firmware.launch_update(context, stand.pre_guest(0x4000, cpuid_page(honest)), PageType.CPUID)
    boasting = [entry._replace(eax=entry.eax | 1 << 31) for entry in honest] + [CpuidEntry(0x7, 0, 1, 2, 3, 4)]
    page = stand.pre_guest(0x5000, cpuid_page(boasting))
    before = stand.firmware.launch_digest(context)
    refuses(Status.INVALID_PARAM, lambda: stand.firmware.launch_update(context, page, PageType.CPUID), "corrected")
    assert stand.firmware.launch_digest(context) == before
    assert parse_cpuid_page(stand.hypervisor.read(page)) == [*honest, CpuidEntry(0x7, 0, 1, 2, 3, 4)]
    stand.firmware.launch_update(context, page, PageType.CPUID)
    broken = stand.pre_guest(0x6000, b"\xff" * PAGE)
    refuses(Status.INVALID_PARAM, lambda: stand.firmware.launch_update(context, broken, PageType.CPUID))


# ---------------------------------------------------------------- the debugger's view


def test_debugging_needs_the_policy(stand: Stand) -> None:
    quiet, open_ = stand.context(asid=1), stand.context(asid=2, policy=int(POLICY | Policy.DEBUG))
    pages = {}
    for context, asid in ((quiet, 1), (open_, 2)):
        pages[asid] = stand.pre_guest(0x1000, b"secret".ljust(PAGE), asid=asid)
        stand.firmware.launch_update(context, pages[asid], PageType.NORMAL)
    target = stand.page(FIRMWARE_PAGE)
    refuses(Status.POLICY_FAILURE, lambda: stand.firmware.dbg_decrypt(quiet, pages[1], target))
    refuses(Status.INVALID_PAGE_OWNER, lambda: stand.firmware.dbg_decrypt(open_, pages[1], target))
    refuses(Status.INVALID_PAGE_STATE, lambda: stand.firmware.dbg_decrypt(open_, pages[2], stand.page()))
    stand.firmware.dbg_decrypt(open_, pages[2], target)
    assert stand.hypervisor.read(target).startswith(b"secret")


# ---------------------------------------------------------------- the end


def test_after_the_end_nothing_opens_the_memory(stand: Stand) -> None:
    stand.hypervisor.launch(GuestLayout.of(program(b"a program")), GuestOptions(), POLICY)
    own = [*stand.hypervisor.table.values()]
    stand.settle()
    ciphertext = [bytes(stand.dram.page(page)) for page in own]
    stand.hypervisor.end()
    assert all(stand.rmp.state(page) is PageState.HYPERVISOR for page in own)
    assert [stand.hypervisor.read(page) for page in own] == ciphertext
    left = stand.hypervisor.pages.left
    stand.hypervisor.launch(GuestLayout.of(program(b"a program")), GuestOptions(), POLICY)
    stand.hypervisor.end()
    assert stand.hypervisor.pages.left == left, "no page is lost"


def test_a_damaged_context_is_no_guest(stand: Stand) -> None:
    context = stand.context()
    stand.settle()
    stand.dram.page(context)[0xFF0] ^= 1  # in the part that is zero
    stand.cache.drop(context)
    refuses(Status.INVALID_GUEST, lambda: stand.firmware.guest_status(context), "damaged")
