"""Evidence in several files, and SIGSTRUCTs, on the command line of `cloister verify`."""

import json
from pathlib import Path

import pytest
from tests.forge.every import armoured, write_files
from tests.forge.sigstruct import sigstruct
from tests.forge.tpm import BOOT, NONCE, TpmForge, event_log, extended
from tests.samples.conftest import EVIDENCE

from cloister.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A TPM quote as tools write it: statement, signature, key, PCR values, event log. The command that verifies it."""
    forge = TpmForge()
    quote = forge.quote()
    contents = {
        "quote.msg": quote.attest.serialize(),
        "quote.sig": quote.signature.serialize(),
        "ak.pem": armoured(forge.spki, "PUBLIC KEY"),
        "pcrs.json": json.dumps({"sha256": {str(i): v.hex() for i, v in extended().items()}}).encode(),
        "log.bin": event_log(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    place = {name: str(tmp_path / name) for name in contents}
    return [
        "verify", place["quote.msg"], "--tpm-signature", place["quote.sig"], "--tpm-pcrs", place["pcrs.json"],
        "--event-log", place["log.bin"], "--trust-key", place["ak.pem"], "--nonce", NONCE.hex(), "--json",
    ]  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, dict[str, object]]:
    code = main(words)
    return code, json.loads(capsys.readouterr().out)


def test_a_tpm_quote_in_files(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answer(capsys, files)
    assert (code, document["status"], document["container"]) == (3, "warning", ["TPM quote in several files"])
    assert not [line for line in document["unchecked"] if "Event log" in line]  # type: ignore[attr-defined]


def test_pcr_values_without_a_bank_are_of_the_first(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(files[files.index("--tpm-pcrs") + 1])
    path.write_text(json.dumps(json.loads(path.read_text())["sha256"]))
    assert answer(capsys, files)[0] == 3


def test_another_pcr_value_is_noticed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(files[files.index("--tpm-pcrs") + 1])
    values = json.loads(path.read_text())
    values["sha256"]["0"] = "00" * 32
    path.write_text(json.dumps(values))
    assert answer(capsys, files)[0] == 5


def test_another_log_is_noticed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[files.index("--event-log") + 1]).write_bytes(event_log(BOOT[1:]))
    assert answer(capsys, files)[0] == 5


@pytest.mark.parametrize("text", ["[]", '{"md5": {"0": "00"}}', '{"sha256": {"x": "00"}}', '{"sha256": {"0": 1}}', "{"])
def test_pcr_values_that_are_none(text: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[files.index("--tpm-pcrs") + 1]).write_text(text)
    assert answer(capsys, files)[0] == 2


def test_parts_without_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    assert main(["verify", str(tmp_path / "sgx.bin"), "--tpm-pcrs", "x"]) == 2
    assert "give --tpm-signature" in capsys.readouterr().err


def test_an_event_log_that_is_not_the_td_s_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    log = tmp_path / "ccel.bin"
    log.write_bytes(event_log(banks=["sha384"]))
    common = [
        "--endorsement",
        str(tmp_path / "tdx-collateral.json"),
        "--unsafe-trust-root",
        str(tmp_path / "tdx-root.pem"),
    ]
    words = ["verify", str(tmp_path / "tdx.bin"), *common, "--at", "2026-06-01", "--json"]
    assert answer(capsys, words)[0] == 3
    code, document = answer(capsys, [*words, "--event-log", str(log)])
    assert (code, document["failed"]) == (5, "LOG-1")


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason=f"no evidence samples at {EVIDENCE}")
@pytest.mark.parametrize(("log", "code"), [("goeventlog-cos-113-intel-tdx", 6), ("dstack-ccel", 6)])
def test_a_real_td_s_log_beside_its_quote(log: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Undecided without collateral, which comes before the log; but read and understood."""
    folder = EVIDENCE / "event-logs" / log
    quote = json.loads((folder / "meta.json").read_text())["expected"]["matches_tdx_quote"][0].split(":")[0]
    words = ["verify", str(EVIDENCE / quote / "quote.bin"), "--event-log", str(folder / "eventlog.bin"), "--json"]
    assert answer(capsys, words)[0] == code


# ---------------------------------------------------------------- SIGSTRUCT


def test_a_sigstruct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sigstruct()
    path = tmp_path / "enclave.sig"
    path.write_bytes(made.serialize())
    code, document = answer(capsys, ["verify", str(path), "--json"])
    claims = document["claims"]
    assert isinstance(claims, dict)
    assert (code, claims["mrsigner"]) == (3, made.mrsigner.hex())
    assert main(["verify", str(path)]) == 3
    assert "only evidence shows" in capsys.readouterr().err


def test_an_altered_sigstruct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(sigstruct().serialize())
    data[960] ^= 1
    path = tmp_path / "enclave.sig"
    path.write_bytes(bytes(data))
    assert answer(capsys, ["verify", str(path), "--json"])[0] == 5


def test_an_executable_that_is_no_enclave(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "/bin/true"]) == 2
    assert "enclave of Intel's SDK" in capsys.readouterr().err
