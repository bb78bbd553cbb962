"""What a guest asks the SNP firmware for: reports and keys over sealed messages, and what the ID block binds."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.emulated_snp import POLICY, Stand, program, quick_keystore, stand_with

from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.commands import CommandFailed, PlatformInfo, Policy, Status
from cloister.emulate.snp.context import GuestContext, with_changes
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.id_block import Identity
from cloister.emulate.snp.keys import FieldSelect, RootKey, answer_key_request
from cloister.emulate.snp.messages import (
    Channel,
    KeyRequest,
    KeyResponse,
    Message,
    MessageType,
    ReportRequest,
    ReportResponseHeader,
)
from cloister.emulate.snp.report import INVALID_KEY_SELECTION, INVALID_PARAMS, SUCCESS
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_keys import ec_key_record, ec_signature
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence import snp
from cloister.evidence.sev_keys import EcKey, EcSignature
from cloister.evidence.snp import MilanTcb, Product, Report
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE
from cloister.measure.snp import guest_digest

DATA = bytes(range(64))
LAYOUT = GuestLayout.of(program(b"a program"))
LOW = MilanTcb(bootloader=1, tee=0, snp=2, microcode=3).serialize()


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated", *Product)


@pytest.fixture
def stand(keystore: Keystore) -> Stand:
    made = stand_with(keystore)
    made.hypervisor.launch(LAYOUT, GuestOptions(host_data=b"h" * 32), POLICY)
    return made


def channel(stand: Stand, number: int = 0) -> Channel:
    """The guest's end, with the key from its context: what its secrets page has."""
    guest = contexts.load(stand.cache, stand.hypervisor.context)
    return Channel(key=guest.channel_key(number), number=number, sequence=guest.sequence(number))


def carry(stand: Stand, message: bytes) -> bytes:
    request = stand.page(content=message.ljust(PAGE, b"\0"))
    return stand.hypervisor.guest_request(request)


def ask(stand: Stand, kind: MessageType, payload: bytes, number: int = 0) -> Message:
    guest = channel(stand, number)
    return guest.open(carry(stand, guest.seal(kind, payload)))


def report_request(vmpl: int = 0, key_select: int = 0) -> bytes:
    return ReportRequest(report_data=DATA, vmpl=vmpl, key_select=key_select).serialize()


def report_of(stand: Stand, vmpl: int = 0, number: int = 0) -> Report:
    payload = ask(stand, MessageType.REPORT_REQ, report_request(vmpl), number).payload
    head = ReportResponseHeader.parse(payload[:32])
    assert (head.status, head.report_size) == (SUCCESS, 1184)
    return snp.parse(payload[32:])


# ---------------------------------------------------------------- reports


@pytest.mark.parametrize(("product", "version"), [(Product.MILAN, 3), (Product.GENOA, 3), (Product.TURIN, 5)])
def test_a_report_says_what_was_launched_and_where(keystore: Keystore, product: Product, version: int) -> None:
    stand = stand_with(keystore, product, hiding=True)
    stand.hypervisor.launch(LAYOUT, GuestOptions(host_data=b"h" * 32), POLICY)
    report = report_of(stand)
    assert report.version == version
    assert report.measurement == guest_digest(LAYOUT).value
    assert (report.report_data, report.host_data, report.policy, report.vmpl) == (DATA, b"h" * 32, POLICY, 0)
    assert report.chip_id == stand.chip.chip_id
    assert report.current_tcb == report.reported_tcb == report.launch_tcb == stand.chip.tcb
    assert report.platform_info & PlatformInfo.CIPHERTEXT_HIDING_DRAM_EN
    assert report.report_id_ma == b"\xff" * 32
    assert report.products == (product,)
    assert not report.author_key_en
    assert not report.debug


def test_each_guest_has_its_own_report_id(stand: Stand) -> None:
    first = report_of(stand).report_id
    assert report_of(stand).report_id == first
    stand.hypervisor.end()
    stand.hypervisor.launch(LAYOUT, GuestOptions(), POLICY)
    assert report_of(stand).report_id != first


@pytest.mark.parametrize("own", range(4))
@pytest.mark.parametrize("asked", range(5))
def test_a_guest_speaks_for_its_own_vmpl_and_lesser_ones(stand: Stand, own: int, asked: int) -> None:
    payload = ask(stand, MessageType.REPORT_REQ, report_request(asked), own).payload
    if own <= asked <= 3:
        assert snp.parse(payload[32:]).vmpl == asked
    else:
        assert ReportResponseHeader.parse(payload).status == INVALID_PARAMS


def test_requests_that_are_none(stand: Stand) -> None:
    short = ask(stand, MessageType.REPORT_REQ, b"short").payload
    assert ReportResponseHeader.parse(short).status == INVALID_PARAMS
    loaded = ask(stand, MessageType.REPORT_REQ, report_request(key_select=2)).payload
    assert ReportResponseHeader.parse(loaded).status == INVALID_KEY_SELECTION
    assert KeyResponse.parse(ask(stand, MessageType.KEY_REQ, b"short").payload).status == INVALID_PARAMS
    with pytest.raises(CommandFailed, match="not emulated"):
        ask(stand, MessageType.TSC_INFO_REQ, bytes(128))


# ---------------------------------------------------------------- messages


def refused(stand: Stand, message: bytes, words: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        carry(stand, message)
    assert caught.value.status is Status.INVALID_PARAM
    assert words in str(caught.value)


def test_a_message_is_answered_once(stand: Stand) -> None:
    guest = channel(stand)
    message = guest.seal(MessageType.REPORT_REQ, report_request())
    carry(stand, message)
    refused(stand, message, "not the next one")
    later = Channel(key=guest.key, sequence=7).seal(MessageType.REPORT_REQ, report_request())
    refused(stand, later, "not the next one")


def test_every_bit_of_a_message_counts(stand: Stand) -> None:
    message = channel(stand).seal(MessageType.REPORT_REQ, report_request())
    for place in (0, 0x20, 0x30, 0x34, 0x36, 0x60, len(message) - 1):
        changed = bytearray(message)
        changed[place] ^= 1
        refused(stand, bytes(changed), "")
    assert ask(stand, MessageType.REPORT_REQ, report_request()), "and none of them used the number up"


def test_keys_are_apart(stand: Stand) -> None:
    wrong = Channel(key=channel(stand, 1).key, number=0).seal(MessageType.REPORT_REQ, report_request())
    refused(stand, wrong, "another key")
    unknown = Channel(key=channel(stand).key, number=4).seal(MessageType.REPORT_REQ, report_request())
    refused(stand, unknown, "there are 4 keys")


def test_the_response_goes_to_a_firmware_page_only(stand: Stand) -> None:
    message = channel(stand).seal(MessageType.REPORT_REQ, report_request())
    request, context = stand.page(content=message.ljust(PAGE, b"\0")), stand.hypervisor.context
    for target in (stand.page(), stand.hypervisor.table[0]):
        with pytest.raises(CommandFailed) as caught:
            stand.firmware.guest_request(context, request, target)
        assert caught.value.status is Status.INVALID_PAGE_STATE
    with pytest.raises(CommandFailed, match="part of the RMP"):
        stand.firmware.guest_request(context, request, 0)
    stand.firmware.guest_request(context, request, stand.page(FIRMWARE_PAGE))


# ---------------------------------------------------------------- keys


def key_request(fields: int, **changes: object) -> bytes:
    values = {"root_key_select": RootKey.VCEK, "vmpl": 0, "guest_svn": 0, "tcb_version": LOW} | changes
    return KeyRequest(guest_field_select=fields, **values).serialize()  # type: ignore[arg-type]


def derived(chip: Chip, guest: GuestContext, fields: int, vmpck: int = 0, **changes: object) -> bytes:
    response = KeyResponse.parse(answer_key_request(chip, guest, key_request(fields, **changes), vmpck=vmpck))
    assert response.status == SUCCESS
    return response.key


@pytest.fixture
def guest(stand: Stand) -> GuestContext:
    return with_changes(contexts.load(stand.cache, stand.hypervisor.context), guest_svn=5)


def test_a_key_comes_over_the_channel(stand: Stand) -> None:
    first, second = (KeyResponse.parse(ask(stand, MessageType.KEY_REQ, key_request(8)).payload) for _ in range(2))
    assert first == second
    assert (first.status, len({first.key, bytes(32)})) == (SUCCESS, 2)


CHANGES: dict[FieldSelect, Callable[[GuestContext], GuestContext]] = {
    FieldSelect.POLICY: lambda guest: with_changes(guest, policy=guest.policy | Policy.SINGLE_SOCKET),
    FieldSelect.IMAGE_ID: lambda guest: with_changes(guest, image_id=b"i" * 16),
    FieldSelect.FAMILY_ID: lambda guest: with_changes(guest, family_id=b"f" * 16),
    FieldSelect.MEASUREMENT: lambda guest: with_changes(guest, digest=b"d" * 48),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_key_depends_on_what_was_selected_and_on_nothing_else(
    stand: Stand, guest: GuestContext, field: FieldSelect
) -> None:
    other = CHANGES[field](guest)
    assert derived(stand.chip, guest, field) != derived(stand.chip, other, field)
    rest = FieldSelect(sum(FieldSelect)) & ~field
    assert derived(stand.chip, guest, rest) == derived(stand.chip, other, rest)
    assert derived(stand.chip, guest, field) != derived(stand.chip, guest, 0)


def test_svn_and_tcb_choose_older_keys_never_newer(stand: Stand, guest: GuestContext) -> None:
    keys = {derived(stand.chip, guest, FieldSelect.GUEST_SVN, guest_svn=svn) for svn in range(6)}
    assert len(keys) == 6
    assert derived(stand.chip, guest, 0, guest_svn=1) == derived(stand.chip, guest, 0, guest_svn=2)
    tcbs = [derived(stand.chip, guest, FieldSelect.TCB_VERSION, tcb_version=tcb) for tcb in (LOW, stand.chip.tcb)]
    assert tcbs[0] != tcbs[1]
    newer = bytearray(stand.chip.tcb)
    newer[7] += 1
    for changes in ({"guest_svn": 6}, {"tcb_version": bytes(newer)}, {"tcb_version": b"\0\0\1" + bytes(5)}):
        answer = answer_key_request(stand.chip, guest, key_request(0, **changes), vmpck=0)
        assert KeyResponse.parse(answer) == KeyResponse(status=INVALID_PARAMS, key=bytes(32))


def test_vmpl_root_and_selection(stand: Stand, guest: GuestContext) -> None:
    assert derived(stand.chip, guest, 0, vmpl=1) != derived(stand.chip, guest, 0, vmpl=0)
    assert derived(stand.chip, guest, 0, root_key_select=RootKey.VMRK) != derived(stand.chip, guest, 0)
    assert derived(stand.chip, with_changes(guest, host_data=bytes(32)), 0) != derived(stand.chip, guest, 0)
    statuses = {
        changed: KeyResponse.parse(answer_key_request(stand.chip, guest, request, vmpck=2)).status
        for changed, request in (
            ("a greater vmpl", key_request(0, vmpl=1)),
            ("no vmpl", key_request(0, vmpl=4)),
            ("a field that is not defined", key_request(1 << 7, vmpl=2)),
            ("a root that is not defined", key_request(0, vmpl=2, root_key_select=2)),
        )
    }
    assert {*statuses.values()} == {INVALID_PARAMS, INVALID_KEY_SELECTION}


def test_another_chip_has_other_keys_and_a_restart_the_same(
    keystore: Keystore, guest: GuestContext, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def of(keys: Keystore) -> bytes:
        return derived(Chip(AmdManufacturer(keys, Product.MILAN, key_bits=2048)), guest, FieldSelect.MEASUREMENT)

    assert of(keystore) == of(Keystore(keystore.directory))
    assert of(keystore) != of(Keystore(tmp_path_factory.mktemp("other") / "emulated"))


# ---------------------------------------------------------------- ID blocks

NO_SIGNATURE = EcSignature(r=bytes(72), s=bytes(72))
NO_KEY = EcKey(curve=0, qx=bytes(72), qy=bytes(72))


def identity(*, author: bool = False, digest: bytes | None = None, policy: int = POLICY, svn: int = 3) -> Identity:
    """An ID block that its owner signed for the program of this file."""
    block = IdBlock(
        launch_digest=guest_digest(LAYOUT).value if digest is None else digest,
        family_id=b"f" * 16, image_id=b"i" * 16, guest_svn=svn, policy=policy, version=1,
    )  # fmt: skip
    owner, above = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    key = ec_key_record(owner.public_key())
    auth = IdAuth(
        id_key_algo=1, auth_key_algo=int(author), id_block_sig=ec_signature(owner, block.serialize(), hashes.SHA384()),
        id_key=key, id_key_sig=ec_signature(above, key.serialize(), hashes.SHA384()) if author else NO_SIGNATURE,
        author_key=ec_key_record(above.public_key()) if author else NO_KEY,
    )  # fmt: skip
    return Identity(block, auth, author)


@pytest.mark.parametrize("author", [False, True])
def test_an_id_block_is_reported(keystore: Keystore, author: bool) -> None:  # noqa: FBT001 - a parameter
    stand, signed = stand_with(keystore), identity(author=author)
    stand.hypervisor.launch(LAYOUT, GuestOptions(identity=signed), POLICY)
    report = report_of(stand)
    assert (report.family_id, report.image_id, report.guest_svn) == (b"f" * 16, b"i" * 16, 3)
    assert report.id_key_digest == signed.auth.id_key.digest
    assert report.author_key_en is author
    assert report.author_key_digest == (signed.auth.author_key.digest if author else bytes(48))


def changed_auth(signed: Identity, **fields: object) -> Identity:
    named = {name: value for name, value in signed.auth.fields() if not name.startswith("reserved")}
    return signed._replace(auth=IdAuth(**(named | fields)))


WRONG: dict[str, tuple[Callable[[], Identity], Status]] = {
    "another program": (lambda: identity(digest=bytes(48)), Status.BAD_MEASUREMENT),
    "another policy": (lambda: identity(policy=POLICY | 1), Status.POLICY_FAILURE),
    "a block that was changed": (
        lambda: identity()._replace(block=identity(svn=4).block), Status.BAD_SIGNATURE,
    ),
    "no key": (lambda: changed_auth(identity(), id_key=NO_KEY), Status.BAD_SIGNATURE),
    "a key that is no point": (
        lambda: changed_auth(identity(), id_key=EcKey(curve=2, qx=b"\1" * 48 + bytes(24), qy=b"\1" * 48 + bytes(24))),
        Status.BAD_SIGNATURE,
    ),
    "an author who did not sign": (
        lambda: changed_auth(identity(author=True), id_key_sig=NO_SIGNATURE), Status.BAD_SIGNATURE,
    ),
    "an algorithm that is not defined": (
        lambda: changed_auth(identity(author=True), auth_key_algo=2), Status.BAD_SIGNATURE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_an_id_block_stops_what_its_owner_did_not_sign(keystore: Keystore, fault: str) -> None:
    stand = stand_with(keystore)
    make, status = WRONG[fault]
    with pytest.raises(CommandFailed) as caught:
        stand.hypervisor.launch(LAYOUT, GuestOptions(identity=make()), POLICY)
    assert caught.value.status is status
    with pytest.raises(CommandFailed) as caught:
        stand.firmware.guest_request(stand.hypervisor.context, stand.page(), stand.page(FIRMWARE_PAGE))
    assert caught.value.status is Status.INVALID_GUEST_STATE, "it does not run"
