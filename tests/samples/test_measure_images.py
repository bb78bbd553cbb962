"""Real images, firmware and logs: what is computed of them is what their signers and quotes say."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.forge.sigstruct import signing_key
from tests.samples.conftest import EVIDENCE
from tests.samples.test_measure_sigstruct import SdkImage
from tests.samples.test_snp_launch_digest import BLOCK

from cloister.cli import main
from cloister.evidence.eventlog import parse as parse_log
from cloister.evidence.sigstruct import of_image
from cloister.evidence.sigstruct import parse as parse_sigstruct
from cloister.evidence.tdx import parse as parse_quote
from cloister.measure.boot_events import rtmr1_of
from cloister.measure.sgx_sdk import sdk_enclave
from cloister.measure.sgxs import parse_sgxs
from cloister.measure.sigstruct import product_of
from cloister.verification.eventlog import replay

SIGNED = EVIDENCE / "sgx-sigstruct" / "intel-ita-enclave-signed-so" / "enclave.signed.so"
FIRMWARE = EVIDENCE / "snp-launch-digest" / "virtee-sev-snp-measure" / "ovmf_AmdSev_suffix.bin"
LOGS = EVIDENCE / "event-logs"
SIGSTRUCTS = sorted(EVIDENCE.glob("sgx-sigstruct/*/sigstruct.bin"))
CC_LOGS = sorted({path.name for path in LOGS.glob("*ccel*")} - {"trustee-ccel-data-csv"})
"""One of them has SM3 only, as Hygon's machines do."""


def test_the_published_enclave_measures_what_its_author_signed() -> None:
    written: list[bytes] = []
    found = sdk_enclave(SIGNED.read_bytes(), write=written.append)
    assert found.signed is not None
    assert found.mrenclave.value == found.signed.enclave_hash
    assert found.mrenclave.value.hex() == SdkImage(SIGNED.read_bytes()).load()
    stream = parse_sgxs(b"".join(written))
    assert (stream.mrenclave, stream.pages, stream.threads) == (found.mrenclave, found.pages, 1)


@pytest.mark.parametrize("place", [0x3000, 0x76010, 0x85000])
def test_a_changed_byte_is_told_from_what_was_signed(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(SIGNED.read_bytes())
    data[place] ^= 1
    (tmp_path / "changed.so").write_bytes(data)
    assert main(["measure", "--tee", "sgx", "--with", "sdk", str(tmp_path / "changed.so")]) == 1
    printed = capsys.readouterr()
    assert "its own SIGSTRUCT is for 69a8788a" in printed.err
    assert "69a8788a" not in printed.out


LINE = "console=ttyS0 loglevel=7"


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        (
            ["--tee", "sev-snp", "--vcpu-type", "EPYC-v4", "--append", LINE],
            "snp:measurement=803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
        ),
        (
            ["--tee", "sev-snp", "--vcpu-type", "23/1/2", "--append", LINE, "--guest-features", "1"],
            "snp:measurement=6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa",
        ),
        (
            ["--tee", "sev-es", "--vcpu-type", "EPYC-v4"],
            "sev:launch_digest=13810ae661ea11e2bb205621f582fee268f0367c8f97bc297b7fadef3e12002c",
        ),
        (
            ["--tee", "sev"],
            "sev:launch_digest=77f613d7bbcdf12a73782ea9e88b0172aeda50d1a54201cb903594ff52846898",
        ),
    ],
    ids=["SNP", "SNP features 1", "SEV-ES", "SEV"],
)  # fmt: skip
def test_published_launch_digests(
    options: list[str], digest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").touch()
    boot = ["--firmware", str(FIRMWARE), "--kernel", str(tmp_path / "empty")]
    assert main(["measure", *options, *boot]) == 0
    assert capsys.readouterr().out.strip() == digest


@pytest.mark.parametrize("name", CC_LOGS)
def test_registers_of_a_published_log(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    meta = json.loads((LOGS / name / "meta.json").read_text())
    expected = meta["expected"]["registers_after_replay"].get("sha384", {})
    assert main(["measure", "--tee", "tdx", "-q", "--event-log", str(LOGS / name / "eventlog.bin")]) == 0
    found = dict(line.removeprefix("tdx:rtmr").split("=") for line in capsys.readouterr().out.split())
    assert found == {str(int(number) - 1): value for number, value in expected.items() if number != "0"}


def test_a_published_log_leads_to_the_registers_of_a_quote(capsys: pytest.CaptureFixture[str]) -> None:
    """cos-113: log and quote are of one boot."""
    quote = parse_quote((EVIDENCE / "intel-tdx" / "gotdxguest-cos-113-tdx-quote-v4" / "quote.bin").read_bytes())
    log = LOGS / "goeventlog-cos-113-intel-tdx" / "eventlog.bin"
    assert main(["measure", "--tee", "tdx", "-q", "--event-log", str(log)]) == 0
    found = dict(line.removeprefix("tdx:").split("=") for line in capsys.readouterr().out.split())
    signed = {name: getattr(quote.body, name).hex() for name in found}
    assert found == signed


def test_dstack_s_log_leads_to_the_registers_of_its_quote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads((EVIDENCE / "intel-tdx" / "dstack-app-event-log" / "quote-report.json").read_text())
    (tmp_path / "log").write_text(answer["event_log"])
    assert main(["measure", "--tee", "tdx", "--event-log", str(tmp_path / "log")]) == 0
    printed = capsys.readouterr()
    quote = parse_quote((EVIDENCE / "intel-tdx" / "dstack-quote-report-v4" / "quote.bin").read_bytes())
    assert bytes.fromhex(answer["quote"]).startswith(quote.serialize())
    assert printed.out.split() == [
        f"tdx:rtmr{number}={getattr(quote.body, f'rtmr{number}').hex()}" for number in range(4)
    ]
    assert "rtmr1 event" in printed.err


@pytest.mark.parametrize(("name", "separator"), [
    ("dstack-ccel", True), ("trustee-ccel-data-ovmf", False), ("goeventlog-ccel-unpadded-data", False),
])  # fmt: skip
def test_rtmr1_of_published_direct_boots_follows_from_their_kernel(name: str, separator: bool) -> None:  # noqa: FBT001 - a table
    log = parse_log((LOGS / name / "eventlog.bin").read_bytes())
    kernels = [one.digest("sha384") for one in log.events if one.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"]
    assert len(kernels) == 1
    assert rtmr1_of(kernels[0], separator=separator).value == replay(log, "sha384")[2]


# ---------------------------------------------------------------- what was signed


def test_the_published_id_block_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auth = EVIDENCE / "snp-launch-digest" / "virtee-id-block" / "test_auth_block.bin"
    (tmp_path / "block").write_bytes(BLOCK)
    assert main(["id-block", "verify", str(tmp_path / "block"), str(auth), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["launch_digest"] == BLOCK[:48].hex()
    assert (found["policy"], found["version"]) == ("0x30000", 1)
    (tmp_path / "block").write_bytes(BLOCK[:-1] + b"\1")
    assert main(["id-block", "verify", str(tmp_path / "block"), str(auth)]) == 5


@pytest.mark.parametrize("path", SIGSTRUCTS, ids=lambda path: path.parent.name)
def test_published_sigstructs_verify(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sigstruct", "verify", "--json", str(path), "--unsafe-allow-debug"]) == 0
    found = json.loads(capsys.readouterr().out)
    meta = json.loads((path.parent / "meta.json").read_text())
    said = meta.get("expected", meta)
    assert (found["mrenclave"], found["mrsigner"]) == (said["mrenclave"], said["mrsigner"])


def test_what_is_signed_again_differs_in_the_key_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published image, measured and signed by another author: the same MRENCLAVE, another MRSIGNER."""
    key = signing_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "key.pem").chmod(0o600)
    line = ["create", "--key", str(tmp_path / "key.pem"), "--with", "sdk", str(SIGNED), "-o", str(tmp_path / "made")]
    assert main(["sigstruct", *line]) == 0
    made = parse_sigstruct((tmp_path / "made").read_bytes())
    published = of_image(SIGNED.read_bytes())
    assert made.enclave_hash == published.enclave_hash
    assert made.mrsigner != published.mrsigner
    assert product_of(made) == product_of(published)
    assert f"sgx:mrenclave={published.enclave_hash.hex()}" in capsys.readouterr().out
