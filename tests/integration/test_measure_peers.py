"""`cloister measure` beside AMD's own tool (virtee/sev-snp-measure): the same digests for any firmware and settings."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sevsnpmeasure.guest import calc_launch_digest, calc_snp_ovmf_hash
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType
from tests.unit.test_snp_measure import SECTIONS, image, section

from cloister.cli import main
from cloister.measure.sev import Kernel, sev_digest, sev_es_digest
from cloister.measure.snp import launch_digest
from cloister.measure.vmsa import CPU_MODELS, Vmm

VMMS = {Vmm.QEMU: VMMType.QEMU, Vmm.EC2: VMMType.ec2, Vmm.GCE: VMMType.gce}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("peers")
    (made / "OVMF.fd").write_bytes(image(*SECTIONS))
    return made


@settings(max_examples=40)
@given(
    kernel=st.none() | st.binary(max_size=200), initrd=st.binary(max_size=200), append=TEXT,
    vcpus=st.integers(1, 5), cpu=st.sampled_from(sorted(CPU_MODELS.values())),
    features=st.sampled_from([1, 0x21, 0x3F]),
    vmm=st.sampled_from(sorted(VMMS)),
)  # fmt: skip
def test_any_guest(
    folder: Path, kernel: bytes | None, initrd: bytes, append: str, vcpus: int, cpu: int, features: int, vmm: Vmm
) -> None:
    for name, data in (("kernel", kernel or b""), ("initrd", initrd)):
        (folder / name).write_bytes(data)
    firmware = (folder / "OVMF.fd").read_bytes()
    own = None if kernel is None else Kernel(image=kernel, initrd=initrd, command_line=append)

    def peer(mode: SevMode) -> str:
        files = ("", "", "") if kernel is None else (str(folder / "kernel"), str(folder / "initrd"), append)
        made: bytes = calc_launch_digest(mode, vcpus, cpu, str(folder / "OVMF.fd"), *files, features, "", VMMS[vmm])
        return made.hex()

    snp = launch_digest(firmware, processors=vcpus, cpu=cpu, features=features, vmm=vmm, kernel=own)
    assert snp.value.hex() == peer(SevMode.SEV_SNP)
    assert sev_digest(firmware, kernel=own).value.hex() == peer(SevMode.SEV)
    es = sev_es_digest(firmware, processors=vcpus, cpu=cpu, vmm=vmm, kernel=own)
    assert es.value.hex() == peer(SevMode.SEV_ES)


def test_firmware_cut_to_its_last_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the digest of its pages, the end of an image is enough, as for that tool."""
    whole = image(*SECTIONS, section(0x900000, 0x1000, 1), pages=5)
    (folder / "whole.fd").write_bytes(whole)
    start = calc_snp_ovmf_hash(str(folder / "whole.fd")).hex()
    expected = calc_launch_digest(SevMode.SEV_SNP, 2, CPU_MODELS["EPYC-Milan"], str(folder / "whole.fd"), "", "", "", 1)
    line = f"measure --tee sev-snp -q --firmware {folder}/whole.fd --vcpus 2 --vcpu-type EPYC-Milan --guest-features 1"
    for words in (line, f"{line} --firmware-digest {start}"):
        assert main(words.split()) == 0
        assert capsys.readouterr().out == f"snp:measurement={expected.hex()}\n"
