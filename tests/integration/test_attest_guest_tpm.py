"""`cloister attest --guest --tpm` against a software TPM; on "Azure" with an emulated SNP machine's report in it."""

import base64
import hashlib
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.services.tpm import Tpm as SoftwareTpm
from tests.services.tpm import tpm as software_tpm
from tests.unit.test_hcl import hcl_report

from cloister.attest.guest.tpm import HCL_INDEX, HCL_KEY, ask_tpm
from cloister.attest.guest.tpm_commands import LONGEST, Tpm, opened
from cloister.cli import _attest_guest, main
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request as Launch
from cloister.emulate.inside import launched, load_program
from cloister.emulate.terminal import sealed_terminal
from cloister.errors import CannotProtect, UsageError
from cloister.evidence import tpm as evidence
from cloister.evidence.tpm_key import parse_key

pytestmark = pytest.mark.needs_program("swtpm", "tpm2_getcap")
NONCE = "00112233445566778899"
ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
NOT_FOUND = 0x18B


@pytest.fixture
def chip() -> Iterator[SoftwareTpm]:
    with software_tpm() as made:
        yield made


def tool(chip: SoftwareTpm, *words: str) -> None:
    subprocess.run(["tpm2", *words, "-T", chip.tcti], check=True, capture_output=True, timeout=60)


@contextmanager
def spoken_to(chip: SoftwareTpm) -> Iterator[Tpm]:
    """As `opened` does for the kernel's device."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.connect(str(chip.directory / "bus"))

        def exchange(command: bytes) -> bytes:
            bus.sendall(command)
            return bus.recv(LONGEST)

        yield Tpm(exchange)


@pytest.fixture
def by_command(chip: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attest_guest, "opened", lambda: spoken_to(chip))


def verified(output: Path, *words: str) -> int:
    return main(["verify", str(output), *words])


@pytest.mark.usefixtures("by_command")
def test_a_quote_verifies_with_its_key_alone(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool(chip, "pcrextend", f"7:sha256={'ab' * 32}")
    output = tmp_path / "quote.json"
    assert main(["attest", "--guest", "--tpm", "--nonce", NONCE, "--json", "-o", str(output)]) == 0
    assert json.loads(capsys.readouterr().out) == {"provider": "tpm", "evidence": str(output)}
    quote = evidence.parse(output.read_bytes())
    assert quote.pcrs[0].values[7] == hashlib.sha256(bytes(32) + b"\xab" * 32).digest()
    assert len(quote.pcrs[0].values) == 24
    assert quote.key is not None
    (tmp_path / "ak.pem").write_bytes(pem(quote.key.spki))
    trusting = ["--trust-key", str(tmp_path / "ak.pem")]
    assert verified(output, *trusting, "--nonce", NONCE) == 3, capsys.readouterr()
    assert verified(output, *trusting, "--nonce", "ff" + NONCE) == 5
    assert verified(output, "--nonce", NONCE) == 5
    output.write_text(output.read_text().replace(quote.pcrs[0].values[7].hex(), "00" * 32))
    assert verified(output, *trusting, "--nonce", NONCE) == 5


def pem(spki: bytes) -> bytes:
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n"


def test_the_key_is_the_tpm_s_and_stays_there(chip: SoftwareTpm) -> None:
    quotes = []
    for _ in range(5):  # more often than a TPM has room for keys
        with spoken_to(chip) as tpm:
            quotes.append(evidence.parse(ask_tpm(b"nonce", tpm)))
    assert len({quote.key for quote in quotes}) == 1
    with software_tpm() as other, spoken_to(other) as tpm:
        assert evidence.parse(ask_tpm(b"nonce", tpm)).key not in {quote.key for quote in quotes}
    key = quotes[0].key
    assert key is not None
    assert key.public is not None
    assert key.public.attests_only


def keep_key(chip: SoftwareTpm, folder: Path, handle: int) -> None:
    """A restricted RSA key, as Azure's paravisor makes it, under a handle."""
    context = str(folder / "ak.ctx")
    tool(chip, "createprimary", "-C", "e", "-G", "rsa2048:rsassa-sha256:null", "-a", ATTRIBUTES, "-c", context)
    tool(chip, "evictcontrol", "-C", "o", "-c", context, f"{handle:#x}")


def test_a_key_that_the_tpm_keeps(chip: SoftwareTpm, tmp_path: Path) -> None:
    keep_key(chip, tmp_path, 0x81010001)
    with spoken_to(chip) as tpm:
        quote = evidence.parse(ask_tpm(b"nonce", tpm, key=0x81010001))
        assert quote.key == parse_key(tpm.public_of(0x81010001))
        assert quote.signature.scheme == "rsassa"
        with pytest.raises(CannotProtect, match=f"TPM2_ReadPublic: the TPM refuses: {NOT_FOUND:#x}"):
            ask_tpm(b"nonce", tpm, key=0x81010002)
        with pytest.raises(UsageError, match="no handle"):
            ask_tpm(b"nonce", tpm, key=0x40000001)
        with pytest.raises(UsageError, match="room for 50"):
            ask_tpm(bytes(51), tpm)


def stored(chip: SoftwareTpm, folder: Path, content: bytes) -> None:
    (folder / "hcl").write_bytes(content)
    tool(chip, "nvdefine", f"{HCL_INDEX:#x}", "-C", "o", "-s", str(len(content)), "-a", "ownerread|ownerwrite")
    tool(chip, "nvwrite", f"{HCL_INDEX:#x}", "-C", "o", "-i", str(folder / "hcl"))


def runtime_data(chip: SoftwareTpm) -> bytes:
    """What the paravisor writes: the key's numbers as a JSON Web Key."""
    with spoken_to(chip) as tpm:
        public = tpm.public_of(HCL_KEY)
    modulus = base64.urlsafe_b64encode(public[-256:]).decode().rstrip("=")
    key = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus}
    return json.dumps({"keys": [key], "vm-configuration": {"secure-boot": True}, "user-data": ""}).encode()


@pytest.mark.usefixtures("by_command")
def test_on_azure_the_hardware_s_report_comes_along(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_key(chip, tmp_path, HCL_KEY)
    kind, runtime = kind_of("sev-snp"), runtime_data(chip)
    quick_keystore(tmp_path)
    (tmp_path / "app.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "app").write_bytes(program(tmp_path / "app.c", kind.architecture))
    request = Launch(tee="sev-snp", keys=str(tmp_path / "store"))
    made = launched(kind, request, load_program(str(tmp_path / "app")), sealed_terminal(lambda _: b"", lambda _: None))
    report = made.evidence(hashlib.sha256(runtime).digest())
    vouching = made.vouching(datetime.now(UTC))
    made.close()
    stored(chip, tmp_path, hcl_report(runtime=runtime, hardware=report))
    output = tmp_path / "azure.json"
    assert main(["attest", "--guest", "--tpm", "--nonce", NONCE, "-o", str(output)]) == 0
    (tmp_path / "roots.pem").write_bytes(vouching.roots)
    words = ["--unsafe-trust-root", str(tmp_path / "roots.pem")]
    for name, content in vouching.collateral.items():
        (tmp_path / name).write_bytes(content)
        words += ["--endorsement", str(tmp_path / name)]
    capsys.readouterr()
    assert verified(output, *words, "--nonce", NONCE) == 3, capsys.readouterr()
    assert verified(output, *words, "--nonce", "ff" + NONCE) == 5


def test_a_td_s_report_is_not_handed_on_without_its_quote(chip: SoftwareTpm, tmp_path: Path) -> None:
    keep_key(chip, tmp_path, HCL_KEY)
    stored(chip, tmp_path, hcl_report(4, runtime=runtime_data(chip)))
    with spoken_to(chip) as tpm, pytest.raises(CannotProtect, match="only its own processor"):
        ask_tpm(b"nonce", tpm)


def test_a_machine_without_a_tpm(tmp_path: Path) -> None:
    with pytest.raises(CannotProtect, match="has no TPM"), opened(tmp_path / "none"):
        pass


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "cannot be read"),
        (bytes(10), "cut off"),
        (bytes.fromhex("8001 0000000a 00000101"), "refuses: 0x101"),
        (bytes.fromhex("8001 0000000a 00000000"), "cannot be read"),
    ],
)
def test_answers_that_are_none(answer: bytes, reason: str) -> None:
    with pytest.raises(CannotProtect, match=reason):
        ask_tpm(b"nonce", Tpm(lambda _: answer), key=0x81000001)


def test_a_tpm_that_measures_all_the_time(chip: SoftwareTpm) -> None:
    with spoken_to(chip) as tpm:
        values, count = tpm.pcrs(), 0

        def changing() -> dict[int, bytes]:
            nonlocal count
            count += 1
            return values | {10: count.to_bytes(32)}

        tpm.pcrs = changing  # type: ignore[method-assign]
        with pytest.raises(CannotProtect, match="something was measured"):
            ask_tpm(b"nonce", tpm)
