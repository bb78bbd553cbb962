"""`cloister measure` of what frameworks and hypervisors launch: what it prints, writes, compares and refuses."""

import hashlib
import json
from pathlib import Path

import pytest
from tests.forge.enclave_elf import LOADER, oe_image, oe_properties, payload
from tests.forge.sigstruct import sigstruct
from tests.forge.tdvf import kernel, mrtd, tdvf
from tests.forge.tpm import event_log
from tests.unit.test_measure_enclaves import MANIFEST
from tests.unit.test_measure_realm import DESCRIPTION
from tests.unit.test_snp_measure import SECTIONS, image

from cloister.cli import main

RIM = "44b679d4598db206930cef3c165d81689ebebb7a4c5319fc1159e1d9ed10d031"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = {
        "app.manifest.sgx": MANIFEST, "libpal.so": LOADER.build(), "enclave": oe_image(oe_properties()).build(),
        "signed": oe_image(oe_properties(sigstruct=sigstruct().serialize())).build(),
        "ego-enclave": oe_image(oe_properties(), wants_module=True).build(),
        "app": payload(oe_properties(threads=3), b'{"exe":"app"}'), "OVMF.fd": image(*SECTIONS), "TDVF.fd": tdvf(),
        "bzImage": kernel(), "initrd": b"initrd", "realm.toml": DESCRIPTION.encode(), "page": bytes(4096),
        "init.toml": b"x = 1", "tpm.log": event_log(), "sha384.log": event_log(banks=("sha384",)),
    }  # fmt: skip
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def measure(capsys: pytest.CaptureFixture[str], line: str, status: int = 0) -> tuple[str, str]:
    """What a command prints on both outputs."""
    assert main(["measure", *line.split()]) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_gramine(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "--tee sgx --with gramine --loader libpal.so --sgxs out.sgxs app.manifest.sgx"
    out, err = measure(capsys, line)
    assert out == "sgx:mrenclave=68300e91579373ed172951b847965104f6c0352116445934cb6037614f04cb9e\n"
    assert "/usr/bin/app" in err
    assert f"sgx:mrenclave={hashlib.sha256((files / 'out.sgxs').read_bytes()).hexdigest()}\n" == out
    again, _ = measure(capsys, "--tee sgx --with sgxs --any-order out.sgxs")
    assert again == out
    _, err = measure(capsys, "--tee sgx --with sgxs out.sgxs", 2)
    assert "do not ascend" in err


@pytest.mark.usefixtures("files")
def test_ego_and_open_enclave(capsys: pytest.CaptureFixture[str]) -> None:
    ego, err = measure(capsys, "--tee sgx --with ego --runtime ego-enclave app")
    assert ego.startswith("sgx:mrenclave=")
    assert "configuration" in err
    oe, err = measure(capsys, "--tee sgx --with oe -q enclave")
    assert (oe == ego, err) == (False, "")


@pytest.mark.usefixtures("files")
def test_a_signature_for_something_else_is_told_and_the_measurement_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, _ = measure(capsys, "--tee sgx --with oe -q enclave")
    out, err = measure(capsys, "--tee sgx --with oe -q signed", 1)
    assert out == plain
    assert "its own SIGSTRUCT is for 000102" in err


@pytest.mark.usefixtures("files")
def test_firmware(capsys: pytest.CaptureFixture[str]) -> None:
    boot = "--firmware OVMF.fd --kernel bzImage --initrd initrd --append quiet"
    out, err = measure(capsys, f"--tee sev-snp {boot} --vcpus 2 --vcpu-type EPYC-Milan-v2 --init-data init.toml")
    measurement, host_data = out.splitlines()
    assert measurement.startswith("snp:measurement=")
    assert host_data == f"snp:host_data={hashlib.sha256(b'x = 1').hexdigest()}"
    assert "command line         quiet" in err
    for tee in ("sev-es --vcpu-type 25/1/1", "sev"):
        out, _ = measure(capsys, f"--tee {tee} {boot}")
        assert out.startswith("sev:launch_digest=")


def test_tdx(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (files / "TDVF.fd").read_bytes()
    out, _ = measure(capsys, "--tee tdx --firmware TDVF.fd")
    assert out == f"tdx:mrtd={mrtd(data)}\n"
    out, _ = measure(capsys, "--tee tdx --firmware TDVF.fd --page-order section -q --initrd initrd --append quiet")
    assert out.splitlines()[0] == f"tdx:mrtd={mrtd(data, each=False)}"
    assert out.splitlines()[1].startswith("tdx:rtmr2=")
    out, _ = measure(capsys, "--tee tdx -q --kernel bzImage --separator rtmr0")
    assert out.startswith("tdx:rtmr1=")
    assert out != measure(capsys, "--tee tdx -q --kernel bzImage")[0]
    out, _ = measure(capsys, "--tee tdx --event-log sha384.log --init-data init.toml")
    claims = [line.partition("=")[0] for line in out.splitlines()]
    assert claims[-1] == "tdx:mrconfigid"
    assert {*claims} <= {"tdx:rtmr0", "tdx:rtmr1", "tdx:rtmr2", "tdx:rtmr3", "tdx:mrconfigid"}
    _, err = measure(capsys, "--tee tdx --event-log tpm.log", 2)
    assert "no SHA-384" in err


@pytest.mark.usefixtures("files")
def test_realm_and_keystone(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = measure(capsys, "--tee cca --realm realm.toml")
    assert out == f"cca:rim={RIM}\n"
    out, _ = measure(capsys, "--tee keystone --loader page --runtime initrd init.toml")
    words = b"".join(bytes([0, 16, *bytes(6)]) for _ in range(3))
    pages = bytes(4096) + b"initrd".ljust(4096, b"\0") + b"x = 1".ljust(4096, b"\0")
    assert out == f"keystone:enclave_hash={hashlib.sha3_512(words + pages).hexdigest()}\n"


def test_a_measurement_becomes_a_policy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = measure(capsys, "--tee tdx --firmware TDVF.fd -q --initrd initrd --append quiet")
    words = [word for line in out.split() for word in ("--measurement", line)]
    assert main(["policy", "init", *words, "-o", str(files / "policy.toml")]) == 0
    text = (files / "policy.toml").read_text()
    assert all(line.partition("=")[2] in text for line in out.split())


def test_diff_names_what_changed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "--tee sev-snp --json --firmware OVMF.fd --kernel bzImage --vcpu-type EPYC"
    for name, more in (("a", ""), ("b", " --append debug --vcpus 4")):
        (files / name).write_text(measure(capsys, line + more)[0])
    out, _ = measure(capsys, "diff a a")
    assert out == ""
    out, _ = measure(capsys, "diff a b", 1)
    assert [one.partition(":")[0] for one in out.splitlines()] == ["command line", "processors", "measurement"]
    out, _ = measure(capsys, "--json diff a b", 1)
    assert json.loads(out)[1] == {"component": "processors", "before": "1", "after": "4"}
    (files / "m.toml").write_text('program = "/a"\n')
    assert "one is a manifest" in measure(capsys, "diff a m.toml", 2)[1]
    (files / "b").write_text((files / "b").read_text().replace("debug", "quiet"))
    assert "changed by hand" in measure(capsys, "diff a b", 2)[1]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--with gramine app.manifest.sgx", "needs --tee"),
        ("--tee sgx --with gramine app.manifest.sgx", "needs --loader"),
        ("--tee sgx --with ego app", "needs --runtime"),
        ("--tee sgx --with oe", "no image given"),
        ("--tee sgx --with enarx app", "there are gramine"),
        ("--tee sgx --with scone app", "SCONE_HASH=1"),
        ("--tee sgx --with oe --loader libpal.so enclave", "--loader is not for --with oe"),
        ("--tee sgx --with sdk enclave", "no .note.sgxmeta"),
        ("--tee sgx --with sgxs --sgxs x out", "is one already"),
        ("--tee sgx --with oe --sgxs no/such/place enclave", "cannot write"),
        ("--tee sgx --with oe missing", "cannot read missing"),
        ("--tee sgx --firmware OVMF.fd", "is not for --tee sgx"),
        ("--tee sev-snp --firmware OVMF.fd", "--vcpu-type EPYC"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type Pentium", "is not known"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type 999/1/1", "is not known"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --vmm xen", "there are qemu"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --vcpus 0", "a guest has 1 to 4096"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --guest-features x", "hexadecimal"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --firmware-digest 00", "96 hexadecimal digits"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --append x", "go with --kernel"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC --svsm page --kernel bzImage", "the module starts"),
        ("--tee sev-snp --vcpus 1", "no firmware given"),
        ("--tee sev-snp --firmware OVMF.fd --vcpu-type EPYC app", "leave it out"),
        ("--tee sev --firmware OVMF.fd --vcpus 2", "--vcpus has no effect"),
        ("--tee tdx --firmware OVMF.fd", "no firmware for TDX"),
        ("--tee tdx --initrd initrd", "nothing to measure"),
        ("--tee tdx --kernel initrd --event-log sha384.log", "MZ"),
        ("--tee tdx --kernel bzImage --separator rtmr2", "there are rtmr1, rtmr0"),
        ("--tee tdx --firmware TDVF.fd --page-order other", "there are page, section"),
        ("--tee cca --realm OVMF.fd", "not UTF-8"),
        ("--tee cca --realm init.toml", "'x' is not understood"),
        ("--tee cca --init-data x", "--init-data has no effect"),
        ("--tee keystone --loader page app", "three parts"),
        ("--tee keystone --loader page --runtime page --kernel page app", "--kernel is not for"),
        ("--tee sgx --manifest x --with oe enclave", "is for the software enclave"),
        ("--tee native --with oe enclave", "is not for --tee native"),
        ("diff a", "takes two measurements"),
        ("diff OVMF.fd realm.toml", "not UTF-8"),
    ],
)
def test_what_cannot_be_measured_is_refused(line: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = measure(capsys, line, 2)
    assert reason in err
    assert out == ""
