"""Trusted boot: what is signed boots, and whatever is changed, exchanged or old does not."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from cloister._x509 import Certificate
from cloister.emulate.trustzone.boot import (
    BootRefused,
    Flash,
    Fuses,
    application_bytes,
    boot,
    firmware_images,
)
from cloister.emulate.trustzone.certificates import (
    APPLICATION,
    BL2,
    BL31,
    BL32,
    FILES,
    FirmwareSigner,
    Oid,
    digest_info,
)
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission

PROGRAM = b"a trusted application"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FirmwareSigner:
    return FirmwareSigner(Keystore(tmp_path_factory.mktemp("keys") / "store"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> FirmwareSigner:
    """Somebody with keys of their own."""
    return FirmwareSigner(Keystore(tmp_path_factory.mktemp("other") / "store"))


def flash_of(signer: FirmwareSigner, program: bytes = PROGRAM, version: int = 0) -> Flash:
    images = firmware_images()
    return Flash(images, signer.sign({**images, APPLICATION: program}, version))


def start(signer: FirmwareSigner, flash: Flash, program: bytes = PROGRAM, counter: int = 0) -> Fuses:
    fuses = Fuses(signer.root_hash, counter)
    boot(fuses, flash, lambda: program)
    return fuses


def test_what_is_signed_boots_in_the_order_of_tf_a(signer: FirmwareSigner) -> None:
    steps = boot(Fuses(signer.root_hash), flash_of(signer), lambda: PROGRAM)
    assert [(step.loader, step.checked.split(":")[0]) for step in steps] == [
        ("BL1", "tb-fw-cert"), ("BL1", BL2),
        ("BL2", "trusted-key-cert"),
        ("BL2", "soc-fw-key-cert"), ("BL2", "soc-fw-cert"), ("BL2", BL31),
        ("BL2", "tos-fw-key-cert"), ("BL2", "tos-fw-cert"), ("BL2", BL32), ("BL2", APPLICATION),
    ]  # fmt: skip


def test_certificates_are_as_cert_create_makes_them(signer: FirmwareSigner) -> None:
    made = flash_of(signer, version=5).certificates
    assert tuple(made) == FILES
    parsed = {name: Certificate.parse(one) for name, one in made.items()}
    content = parsed["tos-fw-cert"].extensions
    assert all(content[oid].critical for oid in (Oid.COUNTER, Oid.BL32_HASH, Oid.APPLICATION_HASH))
    assert content[Oid.COUNTER].value == b"\x02\x01\x05"
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, section 9.2, note 1
    assert content[Oid.APPLICATION_HASH].value == prefix + hashlib.sha256(PROGRAM).digest()
    assert parsed["tos-fw-key-cert"].extensions[Oid.TRUSTED_OS_KEY].value == parsed["tos-fw-cert"].spki
    assert parsed["trusted-key-cert"].spki == parsed["tb-fw-cert"].spki
    assert hashlib.sha256(parsed["tb-fw-cert"].spki).digest() == signer.root_hash


@pytest.mark.parametrize("name", [BL2, BL31, BL32])
def test_changed_firmware_does_not_boot(signer: FirmwareSigner, name: str) -> None:
    flash = flash_of(signer)
    image = bytearray(flash.images[name])
    image[-1] ^= 1
    flash.images[name] = bytes(image)
    with pytest.raises(BootRefused, match=f"{name} is not what its owner signed"):
        start(signer, flash)
    del flash.images[name]
    with pytest.raises(BootRefused, match=name):
        start(signer, flash)


def test_a_changed_application_does_not_boot(signer: FirmwareSigner) -> None:
    with pytest.raises(BootRefused, match="BL2: tos-fw-extra1 is not what its owner signed"):
        start(signer, flash_of(signer), PROGRAM + b"!")


@pytest.mark.parametrize("name", FILES)
def test_every_certificate_counts(signer: FirmwareSigner, stranger: FirmwareSigner, name: str) -> None:
    for change in (missing, damaged, forged(stranger)):
        flash = flash_of(signer)
        change(flash, name)
        with pytest.raises(BootRefused, match=name):
            start(signer, flash)


def missing(flash: Flash, name: str) -> None:
    del flash.certificates[name]


def damaged(flash: Flash, name: str) -> None:
    flash.certificates[name] = flash.certificates[name][:-1]


def forged(stranger: FirmwareSigner) -> Callable[[Flash, str], None]:
    def change(flash: Flash, name: str) -> None:
        flash.certificates[name] = flash_of(stranger).certificates[name]

    return change


@pytest.mark.parametrize("name", FILES)
def test_a_bit_of_a_certificate_is_not_changed_unseen(signer: FirmwareSigner, name: str) -> None:
    """In what is signed, and in the signature."""
    certificate = flash_of(signer).certificates[name]
    parsed = Certificate.parse(certificate)
    oid = max(parsed.extensions.items(), key=lambda item: len(item[1].value))[1]
    for place in (oid.offset + len(oid.value) - 1, len(certificate) - 1):
        flash = flash_of(signer)
        changed = bytearray(flash.certificates[name])
        changed[min(place, len(changed) - 1)] ^= 1
        flash.certificates[name] = bytes(changed)
        with pytest.raises(BootRefused):
            start(signer, flash)


def test_a_whole_flash_of_somebody_else_does_not_boot(signer: FirmwareSigner, stranger: FirmwareSigner) -> None:
    with pytest.raises(BootRefused, match="not the one in this chip's fuses"):
        start(signer, flash_of(stranger))
    start(stranger, flash_of(stranger))


def test_a_content_certificate_cannot_stand_for_another(signer: FirmwareSigner) -> None:
    """Same signer, right signature, wrong contents."""
    flash = flash_of(signer)
    flash.certificates["soc-fw-key-cert"] = flash.certificates["tos-fw-key-cert"]
    with pytest.raises(BootRefused, match="lacks its soc key"):
        start(signer, flash)


def test_old_software_does_not_come_back(signer: FirmwareSigner) -> None:
    old = flash_of(signer, version=2)
    fuses = start(signer, old)
    assert fuses.counter == 2
    boot(fuses, old, lambda: PROGRAM)
    boot(fuses, flash_of(signer, version=3), lambda: PROGRAM)
    assert fuses.counter == 3
    with pytest.raises(BootRefused, match="version 2, and this chip has run version 3"):
        boot(fuses, old, lambda: PROGRAM)


def test_a_boot_that_fails_does_not_burn_the_counter(signer: FirmwareSigner) -> None:
    fuses = Fuses(signer.root_hash, 1)
    with pytest.raises(BootRefused):
        boot(fuses, flash_of(signer, version=9), lambda: b"another")
    assert fuses.counter == 1


def test_one_old_certificate_is_enough_to_refuse(signer: FirmwareSigner) -> None:
    flash, old = flash_of(signer, version=3), flash_of(signer, version=2)
    flash.certificates["tos-fw-cert"] = old.certificates["tos-fw-cert"]
    with pytest.raises(BootRefused, match="tos-fw-cert is of version 2"):
        start(signer, flash, counter=3)


def test_the_application_is_loaded_only_when_the_firmware_was_believed(signer: FirmwareSigner) -> None:
    flash, loads = flash_of(signer), list[str]()

    def load() -> bytes:
        loads.append("loaded")
        return PROGRAM

    flash.images[BL32] += b"\0"
    with pytest.raises(BootRefused):
        boot(Fuses(signer.root_hash), flash, load)
    assert loads == []


# ---- what is hashed of an application

IMAGE = Image(
    architecture=Architecture.ARM64, entry=0x400000, headers=0x400040, header_count=3, end=0x402000,
    pages=(
        ImagePage(0x400000, Permission.READ | Permission.EXECUTE, bytes(PAGE)),
        ImagePage(0x401000, Permission.READ | Permission.WRITE, bytes(PAGE)),
    ),
)  # fmt: skip


def test_everything_that_matters_of_an_application_is_hashed() -> None:
    first, second = IMAGE.pages
    others = [
        replace(IMAGE, entry=0x400004),
        replace(IMAGE, headers=0),
        replace(IMAGE, header_count=4),
        replace(IMAGE, end=0x403000),
        replace(IMAGE, pages=(first,)),
        replace(IMAGE, pages=(first, replace(second, permission=Permission.READ))),
        replace(IMAGE, pages=(first, replace(second, address=0x402000))),
        replace(IMAGE, pages=(first, replace(second, content=bytes(PAGE - 1) + b"\1"))),
    ]
    hashed = {application_bytes(one, {}) for one in [IMAGE, *others]}
    hashed |= {application_bytes(IMAGE, services) for services in ({1: 0x400000}, {2: 0x400000}, {1: 0x400004})}
    assert len(hashed) == len(others) + 4


def test_a_hash_is_der() -> None:
    assert digest_info(b"")[-32:] == hashlib.sha256(b"").digest()


def test_firmware_is_the_code_that_plays_its_part() -> None:
    assert {name: b"class Monitor" in image for name, image in firmware_images().items()} == {
        BL2: False, BL31: True, BL32: False,
    }  # fmt: skip
    assert all(firmware_images().values())
