"""`cloister attest --guest` by /dev/tdx_guest and the host's quoting service, with an emulated machine behind them."""

import errno
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.machines.build import program
from tests.services.quoting import QuotingService, td_report

from cloister.attest.guest import asking
from cloister.attest.guest.asking import Interfaces, ask
from cloister.attest.guest.tdx_guest import ask_tdx_guest, host_service
from cloister.attest.guest.tdx_guest_unsafe import GET_REPORT, td_report_call
from cloister.cli import _attest_guest, main
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request as Launch
from cloister.emulate.inside import launched, load_program
from cloister.emulate.terminal import sealed_terminal
from cloister.errors import CannotProtect

NONCE = "00112233445566778899"
DATA = bytes.fromhex(NONCE).ljust(64, b"\0")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "tdx_guest").touch()
    return tmp_path / "tdx_guest"


def test_what_device_and_host_answer_verifies(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = kind_of("tdx")
    (tmp_path / "app.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "app").write_bytes(program(tmp_path / "app.c", kind.architecture))
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    request = Launch(tee="tdx", keys=str(tmp_path / "store"))
    made = launched(kind, request, load_program(str(tmp_path / "app")), terminal)
    service = QuotingService(made.evidence)
    there = Interfaces(tmp_path / "none", tmp_path / "none", device, tmp_path / "none")
    monkeypatch.setattr(
        asking, "ask_tdx_guest",
        lambda data, device: ask_tdx_guest(data, device=device, call=td_report, connect=service.connect),
    )  # fmt: skip
    monkeypatch.setattr(_attest_guest, "ask", lambda data, **more: ask(data, there, **more))
    output = tmp_path / "report.json"
    assert main(["attest", "--guest", "--nonce", NONCE, "-o", str(output)]) == 0
    assert service.asked == [(0, 1024, 0)]
    vouching = made.vouching(datetime.now(UTC))
    made.close()
    (tmp_path / "roots.pem").write_bytes(vouching.roots)
    words = ["verify", str(output), "--unsafe-trust-root", str(tmp_path / "roots.pem")]
    for name, content in vouching.collateral.items():
        (tmp_path / name).write_bytes(content)
        words += ["--endorsement", str(tmp_path / name)]
    capsys.readouterr()
    assert main([*words, "--nonce", NONCE]) == 3, capsys.readouterr()
    assert main([*words, "--nonce", "ff" + NONCE]) == 5


def test_the_ioctl_is_the_kernels() -> None:
    """include/uapi/linux/tdx-guest.h: _IOWR('T', 1, struct tdx_report_req), of 1,088 bytes."""
    assert GET_REPORT == 0xC4405401


def test_a_device_that_is_none(device: Path) -> None:
    with pytest.raises(CannotProtect, match="no device of a TDX guest"):
        ask_tdx_guest(DATA, device=device, call=td_report_call)


def refusing(number: int) -> Callable[[int, bytes], bytes]:
    def call(_descriptor: int, _data: bytes) -> bytes:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (refusing(errno.EIO), "Input/output error"),
        (lambda descriptor, data: td_report(descriptor, data[::-1]), "no report over the data"),
        (lambda descriptor, data: td_report(descriptor, data)[:500], "no report over the data"),
    ],
)
def test_refusals_of_the_device(device: Path, call: Callable[[int, bytes], bytes], reason: str) -> None:
    service = QuotingService(lambda _: b"quote")
    with pytest.raises(CannotProtect, match=reason):
        ask_tdx_guest(DATA, device=device, call=call, connect=service.connect)
    assert service.asked == []


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (QuotingService(lambda _: b"", error=0x12001), "error 0x12001"),
        (QuotingService(lambda _: b""), "something else than a quote"),
        (QuotingService(lambda _: b"quote", spoil=lambda message: message[:-1]), "something else than a quote"),
        (QuotingService(lambda _: b"quote", spoil=lambda message: message + b"x"), "something else than a quote"),
        (QuotingService(lambda _: b"quote", spoil=lambda message: b"\2" + message[1:]), "another language"),
        (QuotingService(lambda _: b"quote", spoil=lambda message: message[:18]), "another language"),
        (QuotingService(lambda _: b"quote", spoil=lambda _: b""), "a message of 0 bytes"),
        (QuotingService(lambda _: b"quote", spoil=lambda _: bytes(1 << 21)), "a message of 2097152 bytes"),
    ],
)
def test_refusals_of_the_host(device: Path, service: QuotingService, reason: str) -> None:
    with pytest.raises(CannotProtect, match=reason):
        ask_tdx_guest(DATA, device=device, call=td_report, connect=service.connect)


def test_a_host_that_hangs_up(device: Path) -> None:
    def connect() -> socket.socket:
        guest, host = socket.socketpair()
        host.shutdown(socket.SHUT_WR)
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"\5" + bytes(15))
        kept.append(host)
        return guest

    kept: list[socket.socket] = []
    with pytest.raises(CannotProtect, match="ends the connection"):
        ask_tdx_guest(DATA, device=device, call=td_report, connect=connect)
    kept[0].close()


def test_the_port_is_intel_s_or_that_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Vsock:
        def __init__(self, family: int, kind: int) -> None:
            assert (family, kind) == (socket.AF_VSOCK, socket.SOCK_STREAM)

        def settimeout(self, seconds: float) -> None:
            assert seconds > 0

        def connect(self, address: tuple[int, int]) -> None:
            asked.append(address)

    monkeypatch.setattr(socket, "socket", Vsock)
    host_service(tmp_path / "none")
    (tmp_path / "settings").write_text("# the host's\nport = 4051\n")
    host_service(tmp_path / "settings")
    assert asked == [(2, 4050), (2, 4051)]


def test_a_host_without_a_service_is_said(device: Path) -> None:
    def nobody() -> socket.socket:
        raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    with pytest.raises(CannotProtect, match="no quoting service of the host answers: Connection reset"):
        ask_tdx_guest(DATA, device=device, call=td_report, connect=nobody)
