"""What a platform's owner chooses about reports (SNP_CONFIG, SNP_VLEK_LOAD), and what a verifier makes of it."""

from datetime import UTC, datetime

import pytest
from tests.forge.emulated_snp import POLICY, Stand, program, quick_keystore, stand_with

import cloister
from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.chip import PlatformConfig
from cloister.emulate.snp.commands import CommandFailed, Status
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.messages import ReportRequest, ReportResponseHeader
from cloister.emulate.snp.report import INVALID_KEY_SELECTION, SUCCESS, answer_report_request
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse import cache
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.importing import import_files
from cloister.errors import EndorsementUnavailable, SignatureInvalid
from cloister.evidence import snp
from cloister.evidence.snp import MilanTcb, Product, SigningKey
from cloister.measure.guest import GuestLayout
from cloister.verifier import Verdict

NONCE = bytes(range(64))
OLDER = MilanTcb(bootloader=3, tee=0, snp=20, microcode=200).serialize()


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated", *Product)


@pytest.fixture
def stand(keystore: Keystore) -> Stand:
    return launched(keystore)


def launched(keystore: Keystore, product: Product = Product.MILAN) -> Stand:
    made = stand_with(keystore, product)
    made.hypervisor.launch(GuestLayout.of(program(b"a program")), GuestOptions(), POLICY)
    return made


def answered(stand: Stand, key_select: int = 0) -> tuple[int, bytes]:
    guest = contexts.load(stand.cache, stand.hypervisor.context)
    request = ReportRequest(report_data=NONCE, vmpl=0, key_select=key_select).serialize()
    payload = answer_report_request(stand.chip, guest, request, vmpck=0)
    return ReportResponseHeader.parse(payload[:32]).status, payload[32:]


def verified(stand: Stand, report: bytes) -> Verdict:
    now = datetime.now(UTC)
    vouching = stand.chip.vouching(now)
    return cloister.verify(
        report, nonce=NONCE, at=now, anchors=TrustAnchors.testing(stand.chip.manufacturer.ark.certificate.spki),
        endorsements=cache.endorsements(import_files(vouching.collateral.items())),
    )  # fmt: skip


def test_an_older_tcb_is_reported_and_signed_with_its_own_key(stand: Stand) -> None:
    _, before = answered(stand)
    stand.firmware.snp_config(PlatformConfig(reported_tcb=OLDER))
    _, after = answered(stand)
    report = snp.parse(after)
    assert (report.reported_tcb, report.current_tcb) == (OLDER, stand.chip.tcb)
    verified(stand, after)
    with pytest.raises(EndorsementUnavailable, match="for another TCB"):
        verified(stand, before)


@pytest.mark.parametrize("tcb", [bytes([4, 0, 0, 0, 0, 0, 24, 220]), b"\0\0\1" + bytes(5), bytes(7)])
def test_a_newer_tcb_than_there_is_cannot_be_reported(stand: Stand, tcb: bytes) -> None:
    with pytest.raises(CommandFailed) as caught:
        stand.firmware.snp_config(PlatformConfig(reported_tcb=tcb))
    assert caught.value.status is Status.INVALID_PARAM
    assert stand.chip.reported_tcb == stand.chip.tcb


def test_a_hidden_chip_still_verifies_and_a_hidden_key_does_not(stand: Stand) -> None:
    stand.firmware.snp_config(PlatformConfig(mask_chip_id=True))
    _, report = answered(stand)
    assert snp.parse(report).chip_id == bytes(64)
    verified(stand, report)
    stand.firmware.snp_config(PlatformConfig(mask_chip_key=True))
    status, unsigned = answered(stand)
    assert (status, snp.parse(unsigned).signing_key) == (SUCCESS, SigningKey.NONE)
    with pytest.raises(SignatureInvalid, match="not signed"):
        verified(stand, unsigned)


@pytest.mark.parametrize("product", list(Product))
def test_a_provider_s_key_signs_when_it_is_loaded(keystore: Keystore, product: Product) -> None:
    stand = launched(keystore, product)
    assert answered(stand, 2) == (INVALID_KEY_SELECTION, b"")
    stand.firmware.vlek_load("CN=cloud.example")
    kinds = [snp.parse(answered(stand, selected)[1]).signing_key for selected in (0, 1, 2)]
    assert kinds == [SigningKey.VLEK, SigningKey.VCEK, SigningKey.VLEK]
    assert answered(stand, 3)[0] == INVALID_KEY_SELECTION
    found = verified(stand, answered(stand)[1])
    assert found.authentic.parts[0].facts["csp_id"] == "CN=cloud.example"
    verified(stand, answered(stand, 1)[1])


def test_both_commands_need_a_running_platform(stand: Stand) -> None:
    stand.firmware.snp_shutdown()
    with pytest.raises(CommandFailed, match="SNP_INIT"):
        stand.firmware.snp_config(PlatformConfig())
    with pytest.raises(CommandFailed, match="SNP_INIT"):
        stand.firmware.vlek_load("CN=cloud.example")
