"""`cloister attest --guest` against the kernel's interfaces, with emulated machines making the evidence behind them."""

import errno
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.services.tsm import Reports, SevDevice

from cloister.attest.guest import event_log, sev_guest, tdx_guest, tpm_commands
from cloister.attest.guest.asking import Interfaces, ask
from cloister.attest.guest.event_log import read_event_log
from cloister.attest.guest.sev_guest import ask_sev_guest
from cloister.attest.guest.sev_guest_unsafe import GET_EXTENDED_REPORT, ExtendedReport, Request, device_call
from cloister.attest.guest.tsm import ask_tsm
from cloister.cli import _attest_guest, main
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request as Launch
from cloister.emulate.inside import launched, load_program
from cloister.emulate.machine import Machine
from cloister.emulate.terminal import sealed_terminal
from cloister.errors import CannotProtect, UsageError
from cloister.measure.image import Architecture, Image

PROVIDERS = {"sev-snp": "sev_guest", "tdx": "tdx_guest", "cca": "arm_cca_guest"}
NONCE = "00112233445566778899"
DATA = bytes.fromhex(NONCE).ljust(64, b"\0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("guest")
    quick_keystore(found)
    (found / "app.c").write_text("int main(void) { return 0; }\n")
    return found


def image_for(folder: Path, architecture: Architecture) -> Image:
    path = folder / f"app-{architecture}"
    path.write_bytes(program(folder / "app.c", architecture))
    return load_program(str(path))


@pytest.fixture(params=list(PROVIDERS))
def machine(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, Machine]]:
    kind = kind_of(request.param)
    image = image_for(folder, kind.architecture)
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    made = launched(kind, Launch(tee=request.param, keys=str(folder / "store")), image, terminal)
    yield PROVIDERS[request.param], made
    made.close()


def trusting(made: Machine, folder: Path) -> list[str]:
    """Options of `cloister verify` for an emulated machine's makers."""
    vouching = made.vouching(datetime.now(UTC))
    (folder / "roots.pem").write_bytes(vouching.roots)
    words = ["--unsafe-trust-root", str(folder / "roots.pem")]
    for name, content in vouching.collateral.items():
        (folder / name).write_bytes(content)
        words += ["--endorsement", str(folder / name)]
    return words


def test_what_the_kernel_answers_verifies(
    machine: tuple[str, Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    provider, made = machine
    reports = Reports(tmp_path / "report", provider, lambda data: (made.evidence(data), b""))
    reports.install(monkeypatch)
    monkeypatch.setattr(_attest_guest, "ask", lambda data, **more: ask(data, Interfaces(reports=reports.path), **more))
    output = tmp_path / "report.json"
    assert main(["attest", "--guest", "--nonce", NONCE, "--json", "-o", str(output)]) == 0
    assert json.loads(capsys.readouterr().out) == {"provider": provider, "evidence": str(output)}
    assert reports.written == {"inblob": DATA}
    assert list(reports.path.iterdir()) == []
    verify = ["verify", str(output), *trusting(made, tmp_path), "--nonce"]
    assert main([*verify, NONCE]) == 3, capsys.readouterr()
    assert main([*verify, "ff" + NONCE]) == 5


def test_older_kernels_are_asked_by_the_device(folder: Path, tmp_path: Path) -> None:
    kind = kind_of("sev-snp")
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    image = image_for(folder, kind.architecture)
    made = launched(kind, Launch(tee="sev-snp", keys=str(folder / "store")), image, terminal)
    (tmp_path / "device").touch()
    device = SevDevice(lambda data: (made.evidence(data), b"certificates"), room_of_certificates=100_000)
    found = ask_sev_guest(DATA, device=tmp_path / "device", privilege_level=2, call=device)
    made.close()
    assert found.outblob[0x50:0x90] == DATA
    assert found.auxblob.rstrip(b"\0") == b"certificates"
    assert [room for _, room in device.asked] == [65536, 100_000]
    assert device.asked[0][0] == DATA + struct.pack("<I", 2) + bytes(28)


def test_the_ioctl_is_the_kernels() -> None:
    """include/uapi/linux/sev-guest.h: _IOWR('S', 0x2, struct snp_guest_request_ioctl)."""
    assert (Request.__dict__["exitinfo2"].offset, ExtendedReport.__dict__["certs_address"].offset) == (24, 96)
    assert GET_EXTENDED_REPORT == 0xC0205302


def test_a_device_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotProtect, match="no device of an SNP guest"):
        ask_sev_guest(DATA, device=tmp_path / "file", call=device_call)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (SevDevice(lambda _: (b"", b""), error=errno.EIO, host_error=2), "too many reports"),
        (SevDevice(lambda _: (b"", b""), error=errno.EIO), "Input/output error"),
        (SevDevice(lambda _: (bytes(1184), b""), start={"status": 0x16}), "status 0x16"),
        (SevDevice(lambda _: (bytes(1184), b""), start={"size": 1000}), "a report of 1000 bytes"),
    ],
)
def test_refusals_of_firmware_and_host(tmp_path: Path, device: SevDevice, reason: str) -> None:
    (tmp_path / "device").touch()
    with pytest.raises(CannotProtect, match=reason):
        ask_sev_guest(DATA, device=tmp_path / "device", call=device)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reports:
    found = Reports(tmp_path / "report", "sev_guest", lambda data: (b"report of " + data, b"table"))
    found.install(monkeypatch)
    return found


def test_an_answer_to_another_question_is_asked_again(reports: Reports) -> None:
    reports.meddling = 3
    assert ask_tsm(DATA, reports=reports.path).outblob == b"report of " + DATA
    reports.meddling = 5
    with pytest.raises(CannotProtect, match="somebody else"):
        ask_tsm(DATA, reports=reports.path)
    assert list(reports.path.iterdir()) == []


def test_level_and_service_are_written(reports: Reports) -> None:
    found = ask_tsm(DATA, reports=reports.path, privilege_level=3, service="svsm")
    assert reports.written == {"inblob": DATA, "privlevel": b"3", "service_provider": b"svsm"}
    assert found.auxblob == b"table"


def test_an_empty_answer_is_none(reports: Reports) -> None:
    reports.answer = lambda _: (b"", b"")
    with pytest.raises(CannotProtect, match="made no report"):
        ask_tsm(DATA, reports=reports.path)


def test_endless_answers_end(reports: Reports) -> None:
    reports.answer = lambda _: (bytes(2 << 20), b"")
    with pytest.raises(CannotProtect, match="more than"):
        ask_tsm(DATA, reports=reports.path)


def test_a_kernel_without_the_interface_is_told(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    with pytest.raises(CannotProtect, match="another than configfs-tsm"):
        ask_tsm(DATA, reports=tmp_path / "report")


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ((), "no confidential guest"),
        (("tpm",), "TPM answers with --tpm"),
        (("tdx",), "no device of a TDX guest"),
        (("sev",), "no device of an SNP guest"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, present: tuple[str, ...], reason: str) -> None:
    for name in present:
        (tmp_path / name).touch()
    there = Interfaces(tmp_path / "report", tmp_path / "sev", tmp_path / "tdx", tmp_path / "tpm")
    with pytest.raises(CannotProtect, match=reason):
        ask(DATA, there)
    with pytest.raises(CannotProtect, match="SVSM"):
        ask(DATA, there, service="svsm")


def test_the_command_on_a_machine_that_is_no_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Interfaces(tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "d")
    monkeypatch.setattr(_attest_guest, "ask", lambda data, **more: ask(data, nowhere, **more))
    assert main(["attest", "--guest", "-o", str(tmp_path / "out")]) == 120
    assert "cloister doctor" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--guest", "program"], "only with --tee"),
        (["--guest", "--unsafe-debug"], "only with --tee"),
        (["--tee", "tdx"], "needs a PROGRAM"),
        (["--tee", "tdx", "--svsm", "program"], "only with --guest"),
        (["--tee", "tdx", "--privilege-level", "0", "program"], "only with --guest"),
        (["--guest", "--nonce", "11" * 65], "room for 64"),
        (["--guest", "--tpm", "--svsm"], "not with --tpm"),
        (["--guest", "--tpm-key", "0x81000001"], "only with --tpm"),
        (["--tee", "tdx", "--tpm", "program"], "only with --guest"),
    ],
)
def test_options_that_do_not_belong_together(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attest", *words, "-o", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err


def test_the_event_log_is_the_kernels(tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "CCEL"
    with pytest.raises(CannotProtect, match="does not exist"):
        read_event_log(log)
    log.write_bytes(bytes(100))
    with pytest.raises(CannotProtect, match="measured nothing"):
        read_event_log(log)
    log.write_bytes(b"events" + bytes(10))
    monkeypatch.setattr(_attest_guest, "read_event_log", lambda _: read_event_log(log))
    monkeypatch.setattr(_attest_guest, "ask", lambda data, **more: ask(data, Interfaces(reports=reports.path), **more))
    assert main(["attest", "--guest", "--event-log", str(tmp_path / "copy"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "copy").read_bytes() == b"events" + bytes(10)


def test_where_the_kernel_has_its_interfaces() -> None:
    assert str(Interfaces().reports) == "/sys/kernel/config/tsm/report"
    assert (str(sev_guest.DEVICE), str(tdx_guest.DEVICE)) == ("/dev/sev-guest", "/dev/tdx_guest")
    assert str(tpm_commands.DEVICE) == "/dev/tpmrm0"
    assert str(event_log.TPM_LOG) == "/sys/kernel/security/tpm0/binary_bios_measurements"
    assert str(event_log.LOG) == "/sys/firmware/acpi/tables/data/CCEL"


def test_report_data_has_one_size() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        ask_tsm(b"short")
    with pytest.raises((UsageError, CannotProtect)):
        ask_tsm(DATA, reports=Path("/proc"))
