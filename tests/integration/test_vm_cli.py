"""`cloister vm`: what it prints, what the real QEMU and libvirt's schema take of it, and what it says is missing."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.forge.launch_files import write_launch_files

from cloister.cli import main
from cloister.launch.guest import Guest, Need
from cloister.launch.hypervisor import missing
from cloister.launch.sev import confidential_sev

TEES = ("sev", "sev-es", "sev-snp", "tdx", "cca")
LIBVIRT = TEES[:-1]

pytestmark = pytest.mark.usefixtures("files")


def bootable() -> bytes:
    """A kernel that is a header only (Linux Documentation/arch/x86/boot.rst): four sectors of setup, and nothing."""
    image = bytearray(1 << 16)
    image[0x1F1] = 4
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x208] = b"HdrS\x0c\x02"
    image[0x22C:0x230] = (0x7FFFFFFF).to_bytes(4, "little")
    return bytes(image)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Firmware that does nothing, and a kernel that is a header, an initrd of zeros."""
    for name, size in {
        "fw": 1 << 18,
        "kernel": 1 << 16,
        "initrd": 5000,
        "disk.raw": 1 << 20,
        "root,disk.qcow2": 1,
    }.items():
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "kernel").write_bytes(bootable())
    monkeypatch.chdir(tmp_path)
    return tmp_path


BOOT = ("--firmware", "fw", "--kernel", "kernel", "--initrd", "initrd", "--append", "console=ttyS0 a,b")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    assert main(["vm", *words]) == 0
    said = capsys.readouterr()
    return said.out, said.err


def value_of(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def pairs(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (one.partition("=") for one in text.split(","))}


@pytest.mark.parametrize("tee", TEES)
def test_the_guest_boots_what_was_said(tee: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(shown(capsys, "--tee", tee, *BOOT, "--vcpus", "4", "--memory", "512")[0])
    assert [value_of(words, option) for option in ("-kernel", "-initrd", "-append")] == [
        "kernel",
        "initrd",
        "console=ttyS0 a,b",
    ]
    assert (value_of(words, "-smp"), value_of(words, "-m")) == ("4", "512M")
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    machine = pairs(value_of(words, "-machine"))
    assert (machine["accel"], machine["confidential-guest-support"]) == ("kvm", "tee0")


@pytest.mark.parametrize(
    ("tee", "expected"),
    [
        ("sev", {"sev-guest": "", "policy": "0x3", "kernel-hashes": "on", "cbitpos": "51"}),
        ("sev-es", {"sev-guest": "", "policy": "0x7"}),
        ("sev-snp", {"sev-snp-guest": "", "policy": "0x30000", "kernel-hashes": "on"}),
        ("cca", {"rme-guest": "", "measurement-algorithm": "sha512"}),
    ],
)
def test_what_the_object_says(tee: str, expected: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(shown(capsys, "--tee", tee, *BOOT)[0])
    objects = [pairs(words[at + 1]) for at, word in enumerate(words) if word == "-object"]
    assert expected.items() <= objects[-1].items()


def test_tdx_is_told_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--tee", "tdx", "--firmware", "fw", "--mr-config-id", "ab" * 48)[0]
    asked = json.loads(value_of(shlex.split(text), "-object"))
    assert asked["qom-type"] == "tdx-guest"
    assert asked["attributes"] == 1 << 28
    assert asked["quote-generation-socket"] == {"type": "vsock", "cid": "2", "port": "4050"}
    assert asked["mrconfigid"] == "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6ur"


@pytest.mark.parametrize(
    ("tee", "bit"),
    [("sev", (1 << 0, "clear")), ("sev-es", (1 << 0, "clear")), ("sev-snp", (1 << 19, "set")), ("tdx", (1, "set"))],
)
def test_debug_is_asked_for_by_an_unsafe_option_only(
    tee: str, bit: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def policy(*more: str) -> int:
        words = shlex.split(shown(capsys, "--tee", tee, "--firmware", "fw", *more)[0])
        text = words[len(words) - 1 - words[::-1].index("-object") + 1]
        return int(json.loads(text)["attributes"]) if tee == "tdx" else int(pairs(text)["policy"], 16)

    mask, when_debug = bit
    assert bool(policy("--unsafe-debug") & mask) == (when_debug == "set")
    assert bool(policy() & mask) == (when_debug == "clear")


@pytest.mark.needs_program("qemu-system-x86_64")
@pytest.mark.parametrize("tee", LIBVIRT)
def test_the_real_qemu_takes_the_machine(tee: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it but the TEE, which no machine without the hardware has: it stands there, stopped, and is ended."""
    text = shown(
        capsys, "--tee", tee, *BOOT, "--disk", "disk.raw", "--vcpus", "2", "--memory", "64", "--vcpu-type", "max"
    )[0]
    words = shlex.split(text)
    at = len(words) - 1 - words[::-1].index("-object")
    del words[at : at + 2]
    plain = [word.replace("accel=kvm,confidential-guest-support=tee0", "accel=tcg") for word in words]
    assert plain != words
    done = subprocess.run([*plain, "-S"], input=b"\x01x", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Terminated" in done.stdout or b"QEMU" in done.stdout


@pytest.mark.needs_program("qemu-system-x86_64")
def test_the_real_qemu_takes_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    """It comes as far as asking the processor, which is none with SEV here, or KVM, which is not there."""
    if Path("/dev/sev").exists():
        pytest.skip("this machine has SEV: the guest would run")
    words = shlex.split(shown(capsys, "--tee", "sev", *BOOT, "--memory", "64", "--vcpu-type", "max")[0])
    done = subprocess.run([*words, "-S"], input="\x01x", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.search(r"cbitpos check failed|failed to initialize kvm|Could not access KVM|No such file", done.stderr), (
        done.stderr
    )
    assert "Property" not in done.stderr
    assert "Invalid parameter" not in done.stderr


@pytest.mark.needs_program("virt-xml-validate")
@pytest.mark.parametrize("tee", LIBVIRT)
def test_libvirts_schema_takes_the_domain(tee: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The schema that is installed may be older than a kind of launchSecurity: then all but that must be right."""
    text = shown(capsys, "--tee", tee, *BOOT, "--disk", "disk.raw", "--show", "libvirt")[0]
    root = ET.fromstring(text)  # noqa: S314 - ours
    security = root.find("launchSecurity")
    assert security is not None
    schema = (Path("/usr/share/libvirt/schemas") / "domaincommon.rng").read_text()
    if f"<value>{security.get('type')}</value>" not in schema:
        root.remove(security)
    (files / "guest.xml").write_text(ET.tostring(root, encoding="unicode"))
    done = subprocess.run(["virt-xml-validate", "guest.xml"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_libvirt_gets_whole_paths_and_the_tees_words(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--host-data", "11" * 32, "--disk", "root,disk.qcow2", "--show", "libvirt")
    root = ET.fromstring(shown(capsys, "--tee", "sev-snp", *BOOT, *words)[0])  # noqa: S314
    assert root.findtext("os/kernel") == str(files / "kernel")
    assert root.find("devices/disk/source").get("file") == str(files / "root,disk.qcow2")  # type: ignore[union-attr]
    security = root.find("launchSecurity")
    assert security is not None
    assert security.attrib == {"type": "sev-snp", "kernelHashes": "yes"}
    assert security.findtext("policy") == "0x00030000"
    assert security.findtext("hostData") == "ERERERERERERERERERERERERERERERERERERERERERE="


def test_commas_in_paths_are_told_from_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(shown(capsys, "--tee", "tdx", "--firmware", "fw", "--disk", "root,disk.qcow2")[0])
    assert "if=none,id=disk0,format=qcow2,file=root,,disk.qcow2" in words


@pytest.mark.parametrize("tee", ["sev-snp", "sev-es", "sev", "tdx"])
def test_the_command_that_foretells_the_measurement_does(
    tee: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_launch_files(files)
    firmware = "TDVF.fd" if tee == "tdx" else "OVMF.fd"
    boot = ("--kernel", "bzImage", "--initrd", "initrd", "--append", "quiet")
    told = shown(capsys, "--tee", tee, "--firmware", firmware, *boot, "--vcpus", "3")[1]
    command = shlex.split(told.removeprefix("its measurement: "))
    assert main(command[1:]) == 0
    first = capsys.readouterr().out
    Path("initrd").write_bytes(b"another initial file system")
    assert main(command[1:]) == 0
    assert capsys.readouterr().out != first


@pytest.mark.parametrize(
    ("memory", "foretold"), [(2048, True), (2049, False), (2815, False), (2816, True), (1024, False)]
)
def test_a_kernel_s_place_is_foretold_only_where_it_is_known(
    memory: int, files: Path, capsys: pytest.CaptureFixture[str], *, foretold: bool
) -> None:
    """Between, QEMU puts the initrd at the end of a low memory of another size, and says so in the measured kernel."""
    write_launch_files(files)
    boot = ("--kernel", "bzImage", "--initrd", "initrd", "--append", "quiet", "--memory", str(memory))
    words = shlex.split(shown(capsys, "--tee", "tdx", "--firmware", "TDVF.fd", *boot)[1])
    assert ("--kernel" in words) is foretold
    assert words[-4:] == ["--initrd", "initrd", "--append", "quiet"]


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    found = missing(confidential_sev(Guest(firmware=Path("fw"))), root=tmp_path)
    assert len(found) == 3 + (shutil.which("qemu-system-x86_64") is None)
    assert any("/dev/kvm" in one for one in found)
    assert any("modprobe kvm_amd sev=1" in one for one in found)


def test_a_parameter_that_is_off_is_said(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("kvm", "sev"):
        (tmp_path / "dev" / name).touch()
    parameter = tmp_path / "sys/module/kvm_amd/parameters/sev"
    parameter.parent.mkdir(parents=True)
    confidential = confidential_sev(Guest(firmware=Path("fw")))
    parameter.write_text("N\n")
    assert [one for one in missing(confidential, root=tmp_path) if "says N" in one]
    parameter.write_text("Y\n")
    assert not [one for one in missing(confidential, root=tmp_path) if "kvm_amd" in one]
    assert Need("/dev/sev", "") in {Need(need.path, "") for need in confidential.needs}


def test_running_where_it_cannot_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/dev/sev").exists():
        pytest.skip("this machine has SEV")
    assert main(["vm", "--tee", "sev-snp", *BOOT, "--run"]) == 120
    assert "/dev/sev does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tee", "sev", "--host-data", "11" * 32], "no host data"),
        (["--tee", "sev-snp", "--mr-config-id", "11" * 48], "no MRCONFIGID"),
        (["--tee", "tdx", "--host-data", "11" * 32], "no host data"),
        (["--tee", "cca", "--unsafe-debug"], "no debug mode"),
        (["--tee", "cca", "--show", "libvirt"], "no words for rme-guest"),
        (["--tee", "sev-snp", "--host-data", "11"], "1 bytes; 32 are expected"),
        (["--tee", "sev-snp", "--host-data", "xyz"], "hexadecimal"),
        (["--tee", "sev-snp", "--id-block", "disk.raw"], "longer than 4,096"),
        (["--tee", "sev", "--append", "x"], "go with --kernel"),
        (["--tee", "sev", "--kernel", "nothing"], "no such file"),
        (["--tee", "sev", "--memory", "0"], "above 0"),
        (["--tee", "sev", "--show", "libvirt", "--", "-device", "x"], "no place in libvirt"),
    ],
)
def test_what_does_not_belong_together(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", *words[:2], "--firmware", "fw", *words[2:]]) == 2
    assert reason in capsys.readouterr().err
