"""Launch digests of SEV and SEV-SNP by their formulas, and what is refused of a firmware image.

The digests here were computed from the formulas by hand, apart from this code; published ones are in tests/samples.
"""

import hashlib
import uuid
from typing import Any

import pytest

from cloister.errors import ParseError, UsageError
from cloister.evidence.sev import MAGIC, LaunchMeasurement
from cloister.measure.ovmf import SectionType, parse_firmware
from cloister.measure.sev import Kernel, launch_measure, sev_digest, sev_es_digest
from cloister.measure.snp import CPUID, SECRETS, ZERO, LaunchDigest, launch_digest, svsm_launch_digest
from cloister.measure.vmsa import CPU_MODELS, FIRST_EIP, Vmm, cpu_signature, svsm_vmsa, vmsa
from cloister.model import Digest

PAGE = 4096


def entry(guid: str, data: bytes) -> bytes:
    return data + (len(data) + 18).to_bytes(2, "little") + uuid.UUID(guid).bytes_le


def section(gpa: int, size: int, kind: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in (gpa, size, kind))


def image(*sections: bytes, entries: bytes | None = None, header: bytes | None = None, pages: int = 2) -> bytes:
    """A firmware image with a table as OVMF has it: the metadata in the first page, the table at the end."""
    metadata = header or b"".join(
        (b"ASEV", (16 + 12 * len(sections)).to_bytes(4, "little"), (1).to_bytes(4, "little"),
         len(sections).to_bytes(4, "little"))
    )  # fmt: skip
    given = entries if entries is not None else b"".join((
        entry("dc886566-984a-4798-a75e-5585a7bf67cc", (pages * PAGE).to_bytes(4, "little")),
        entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", (0x80B004).to_bytes(4, "little")),
        entry("7255371f-3a3b-4b04-927b-1da6efa8d454", (0x810400).to_bytes(4, "little") + (0x400).to_bytes(4, "little")),
    ))  # fmt: skip
    table = given + (len(given) + 18).to_bytes(2, "little") + uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    front = metadata + b"".join(sections)
    return front.ljust(pages * PAGE - 32 - len(table), b"\x90") + table + bytes(32)


# ---------------------------------------------------------------- formulas


def test_pages_of_every_kind() -> None:
    digest = LaunchDigest()
    digest.normal(0x1000, bytes(PAGE))
    assert digest.value.hex().startswith("e6e4d78904d9d6b33c0cbfd121998fd2d11744dae606b3aee35e2a45d6869b60")
    digest.empty(ZERO, 0x2000)
    assert digest.value.hex().startswith("8233fbe1ec826b22907aa9397de357831970a96a08e3783a274d6349194edde8")
    digest.empty(SECRETS, 0x3000)
    digest.empty(CPUID, 0x4000)
    assert digest.value.hex() == (
        "04d14c17b5b6ce5fbe6a523e58745486f58f1c3ccdf25bfb87f919ec641c2d7806ba5940ca1fa98768f3c0a15cbf0b7c"
    )


@pytest.mark.parametrize(
    ("eip", "expected"),
    [
        (FIRST_EIP, "77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b"),
        (0x80B004, "8413b852790765a310d95867a8b00bfca3a802b5a80830044b45e253fe962226"),
    ],
)
def test_save_areas_under_qemu(eip: int, expected: str) -> None:
    page = vmsa(eip, cpu=CPU_MODELS["EPYC"], features=1, vmm=Vmm.QEMU)
    assert hashlib.sha384(page).hexdigest().startswith(expected)


def test_save_areas_differ_by_hypervisor_processor_and_features() -> None:
    options: dict[str, Any] = {"cpu": CPU_MODELS["EPYC-Milan"], "features": 1}
    pages = [vmsa(FIRST_EIP, vmm=vmm, **options) for vmm in Vmm]
    pages += [vmsa(FIRST_EIP, vmm=Vmm.QEMU, **options | {"features": 0x21}), vmsa(0x80B004, vmm=Vmm.QEMU, **options)]
    pages += [vmsa(FIRST_EIP, vmm=Vmm.QEMU, **options | {"cpu": CPU_MODELS["EPYC-Rome"]}), svsm_vmsa(0x1000, cpu=1)]
    assert len(set(pages)) == len(pages)
    assert {len(page) for page in pages} == {PAGE}


def test_cpu_signatures_are_those_of_cpuid() -> None:
    assert cpu_signature(0x19, 0x01, 1) == 0x00A00F11
    assert cpu_signature(0x19, 0x11, 0) == 0x00A10F10
    assert cpu_signature(6, 0x0F, 2) == 0x6F2


def test_the_table_of_kernel_hashes() -> None:
    table = Kernel(image=b"kernel", initrd=b"initrd", command_line="quiet").hashes()
    assert len(table) == 176
    parts = [table[18 + 50 * i + 18 : 18 + 50 * (i + 1)] for i in range(3)]
    assert parts == [hashlib.sha256(part).digest() for part in (b"quiet\0", b"initrd", b"kernel")]


def test_the_launch_measure_of_the_published_vector() -> None:
    """From the tests of virtee/sev (src/launch/sev.rs)."""
    measurement = LaunchMeasurement(
        magic=MAGIC, version=1, measure=bytes(32), mnonce=bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554"),
        api_major=0, api_minor=18, build=15, policy=0,
    )  # fmt: skip
    tik = bytes.fromhex("66320db73158a35a255d051758e95ed4")
    empty = Digest("sha256", hashlib.sha256(b"").digest())
    expected = "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea"
    assert launch_measure(measurement, tik=tik, digest=empty).hex() == expected
    with pytest.raises(UsageError):
        launch_measure(measurement, tik=tik[:15], digest=empty)


# ---------------------------------------------------------------- firmware

SECTIONS = (
    section(0x800000, 0x2000, SectionType.SEC_MEM),
    section(0x80D000, 0x1000, SectionType.SECRETS),
    section(0x80E000, 0x1000, SectionType.CPUID),
    section(0x810000, 0x1000, SectionType.KERNEL_HASHES),
)


def test_what_a_firmware_image_says() -> None:
    found = parse_firmware(image(*SECTIONS))
    assert (found.gpa, found.reset_eip, found.hash_table_gpa) == ((1 << 32) - 2 * PAGE, 0x80B004, 0x810400)
    assert [one.type for one in found.sections] == [1, 2, 3, 0x10]
    assert parse_firmware(bytes(PAGE)).sections == ()


def test_everything_that_is_measured_changes_the_digest() -> None:
    base: dict[str, Any] = {"firmware": image(*SECTIONS), "processors": 1, "cpu": CPU_MODELS["EPYC-Milan"]}
    kernel = Kernel(image=b"kernel")
    variants: list[dict[str, Any]] = [
        {}, {"processors": 2}, {"cpu": CPU_MODELS["EPYC-Genoa"]}, {"features": 1}, {"vmm": Vmm.EC2}, {"vmm": Vmm.GCE},
        {"kernel": kernel}, {"kernel": Kernel(image=b"kernel", initrd=b"i")},
        {"kernel": Kernel(image=b"kernel", command_line="debug")}, {"firmware": image(*SECTIONS[:3])},
        {"firmware": image(*SECTIONS, pages=3)}, {"firmware": image(*reversed(SECTIONS))},
    ]  # fmt: skip
    digests = [launch_digest(**base | variant).value for variant in variants]
    assert len(set(digests)) == len(variants)


def test_sev_measures_the_firmware_and_the_kernel_only() -> None:
    firmware, kernel = image(*SECTIONS), Kernel(image=b"kernel")
    assert sev_digest(firmware).value == hashlib.sha256(firmware).digest()
    assert sev_digest(firmware, kernel=kernel).value == hashlib.sha256(firmware + kernel.hashes()).digest()
    es = sev_es_digest(firmware, processors=2, cpu=1)
    assert es != sev_es_digest(firmware, processors=1, cpu=1) != sev_digest(firmware)


REFUSED: dict[str, tuple[bytes, str]] = {
    "no whole pages": (bytes(PAGE - 1), "firmware has whole pages"),
    "nothing": (b"", "firmware has whole pages"),
    "too much": (bytes((64 << 20) + PAGE), "firmware has whole pages"),
    "an entry longer than the table": (image(entries=b"\xff\xff" + bytes(16)), "entry length"),
    "an entry shorter than its own head": (image(entries=b"\x11\x00" + bytes(16)), "entry length"),
    "an entry twice": (image(entries=entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", b"") * 2), "stands twice"),
    "metadata outside the image": (
        image(entries=entry("dc886566-984a-4798-a75e-5585a7bf67cc", (1 << 31).to_bytes(4, "little"))),
        "outside the image",
    ),
    "metadata that begins otherwise": (image(header=b"VESA" + bytes(12)), "signature"),
    "metadata of another version": (
        image(header=b"ASEV" + (16).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4)), "version",
    ),
    "more sections than fit": (
        image(header=b"ASEV" + (16).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\xff" * 4), "do not fit",
    ),
    "a section of a kind that is not known": (image(section(0x800000, 0x1000, 5)), "5 is not known"),
    "a section that is no page": (image(section(0x800001, 0x1000, 1)), "whole pages"),
    "a section of half a page": (image(section(0x800000, 0x800, 1)), "whole pages"),
    "a section of all memory": (image(section(0, 0xFFFFF000, 1)), "whole pages"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_firmware(data)
    assert reason in str(caught.value)


def test_what_a_firmware_image_lacks_is_named() -> None:
    with pytest.raises(ParseError, match="00f771de-1a7e-4fcb-890e-68c77e2fb44e"):
        sev_es_digest(bytes(PAGE), processors=1, cpu=0)


@pytest.mark.parametrize("processors", [0, -1, 4097])
def test_guests_have_a_reasonable_number_of_processors(processors: int) -> None:
    with pytest.raises(UsageError, match="a guest has 1 to 4096"):
        launch_digest(image(*SECTIONS), processors=processors)
    with pytest.raises(UsageError, match="a guest has 1 to 4096"):
        svsm_launch_digest(image(*SECTIONS), image(*SECTIONS), processors=processors, cpu=0, variables=0)


def test_a_digest_to_start_from_has_48_bytes() -> None:
    with pytest.raises(UsageError, match="has 48 bytes"):
        launch_digest(image(*SECTIONS), processors=1, start=bytes(32))
    with pytest.raises(UsageError, match="has 48 bytes"):
        launch_digest(image(*SECTIONS), processors=1, start=b"")


def test_the_place_for_hashes_lies_in_its_page() -> None:
    elsewhere = section(0x900000, 0x1000, SectionType.KERNEL_HASHES)
    with pytest.raises(UsageError, match="does not contain the place"):
        launch_digest(image(elsewhere), processors=1, kernel=Kernel(image=b""))
