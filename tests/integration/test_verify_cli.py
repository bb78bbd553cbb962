"""`cloister verify` on the command line: exit codes, explanations, layout, JSON."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.forge import ratls
from tests.forge.every import NONCE, members, write_files
from tests.forge.intel import DEBUG_SGX, IntelForge, enclave_report
from tests.services.verify_command import AT, MEASUREMENT, TEES, document, policy_for, trust, trusted, verify

from cloister.model import Tee
from cloister.verifier.rows import ROWS

VENDORS = (Tee.SGX, Tee.TDX, Tee.SNP)
"""TEEs whose vendors publish what vouches: without it nothing is decided."""

VALUES = ("expected", "found", "set by", "why", "to fix", "option", "at stake")
LABEL = re.compile(rf"^ {{6}}({'|'.join(VALUES)}) +(?P<value>.*)$")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("evidence")
    write_files(made)
    return made


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user of this machine has fetched plays no part."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def broken(tee: Tee, folder: Path) -> bytes:
    """The sample with its last byte that is not zero changed: in all of them a signature, or what one covers."""
    data = bytearray((folder / f"{tee}.bin").read_bytes())
    at = {Tee.SGX: 100, Tee.TDX: 200, Tee.SNP: 0x90, Tee.KEYSTONE: 0, Tee.SOFTWARE: -1, Tee.CCA: -1}.get(tee, 0)
    if tee is Tee.TPM:
        found = json.loads(data)
        signature = found["tpm_quote"]["signature"]
        found["tpm_quote"]["signature"] = signature[:40] + ("A" if signature[40] != "A" else "B") + signature[41:]
        return json.dumps(found).encode()
    data[at] ^= 1
    return bytes(data)


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize("tee", TEES)
def test_0_affirming_and_4_contraindicated(
    tee: Tee, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = document(capsys, tee, folder)["claims"][MEASUREMENT[tee]]
    right = policy_for(tee, measured, tmp_path / "right.toml")
    wrong = policy_for(tee, measured[:-2] + ("00" if measured[-2:] != "00" else "01"), tmp_path / "wrong.toml")
    ran = trusted(capsys, tee, folder, "--nonce", NONCE.hex(), "--policy", right)
    assert (ran.code, ran.out) == (0, "")
    assert "AFFIRMING: authentic, and everything that the policy demands holds" in ran.err
    ran = trusted(capsys, tee, folder, "--nonce", NONCE.hex(), "--policy", wrong)
    assert (ran.code, ran.out) == (4, "")
    assert re.search(r"CONTRAINDICATED: authentic, but not what the policy demands \(POLICY-\d+ below\)", ran.err)
    assert f"{wrong}:3" in "".join(ran.err.split()), "the line of the policy that demanded it"


@pytest.mark.parametrize("tee", TEES)
def test_3_without_a_policy(tee: Tee, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = trusted(capsys, tee, folder, "--nonce", NONCE.hex())
    assert (ran.code, ran.out) == (3, "")
    assert "nobody said which program it should be: give --policy" in ran.err


@pytest.mark.parametrize("tee", TEES)
def test_5_altered_stale_or_under_a_root_that_nobody_trusts(
    tee: Tee, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = tmp_path / "altered.bin"
    altered.write_bytes(broken(tee, folder))
    assert verify(capsys, altered, *trust(tee, folder)).code == 5
    stale = trusted(capsys, tee, folder, "--nonce", "ff" * 16)
    assert stale.code == 5
    assert "another challenge, or" in " ".join(stale.err.split())
    untrusted = verify(capsys, folder / f"{tee}.bin", "--at", AT)
    assert untrusted.code == (6 if tee is Tee.SNP else 5), "an SNP report has no certificate with it"
    assert "option" in untrusted.err


@pytest.mark.parametrize("tee", VENDORS)
def test_6_without_what_vouches_or_after_it(tee: Tee, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = verify(
        capsys, folder / f"{tee}.bin", "--at", AT, "--unsafe-trust-root", folder / f"{tee}-root.pem"
    )  # fmt: skip
    late = trusted(capsys, tee, folder, "--at", "2099-01-01")
    for ran in (missing, late):
        assert (ran.code, ran.out) == (6, "")
        assert "COULD NOT DECIDE" in ran.err
        assert "to fix" in ran.err


@pytest.mark.parametrize("tee", TEES)
def test_2_malformed(tee: Tee, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = tmp_path / "short.bin"
    short.write_bytes((folder / f"{tee}.bin").read_bytes()[:200])
    ran = verify(capsys, short, *trust(tee, folder))
    assert (ran.code, ran.out) == (2, "")
    assert "NOT UNDERSTOOD" in ran.err
    assert "byte" in ran.err


def test_debug_evidence_is_refused_and_the_option_for_it_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge = IntelForge()
    write_files(tmp_path)
    quote = forge.sgx_quote(body=enclave_report(attributes=DEBUG_SGX))
    (tmp_path / "debug.bin").write_bytes(quote)
    (tmp_path / "root.pem").write_bytes(forge.chain_pem())
    words = ["--at", AT, "--unsafe-trust-root", tmp_path / "root.pem"]
    ran = verify(capsys, tmp_path / "debug.bin", *words)
    assert ran.code == 5
    assert "--unsafe-allow-debug" in ran.err
    assert verify(capsys, tmp_path / "debug.bin", *words, "--unsafe-allow-debug").code == 6, "no collateral is given"


def test_revocation_is_skipped_only_on_demand_and_listed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = (folder / "snp-certificates.pem").read_text()
    (tmp_path / "no-lists.pem").write_text(blocks[: blocks.index("-----BEGIN X509 CRL")])
    words = ["--at", AT, "--unsafe-trust-root", folder / "snp-root.pem", "--endorsement", tmp_path / "no-lists.pem"]
    assert verify(capsys, folder / "snp.bin", *words).code == 6
    ran = verify(capsys, folder / "snp.bin", *words, "--unsafe-skip-revocation")
    assert ran.code == 3
    assert "unsafe_skip_revocation" in ran.err.partition("NOT checked:")[2]


# ---------------------------------------------------------------- what is printed


@pytest.mark.parametrize("tee", TEES)
def test_explain_shows_every_step_with_its_values(tee: Tee, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = trusted(capsys, tee, folder, "--nonce", NONCE.hex(), "--explain")
    table, _, rest = ran.err.partition("\nchecks:\n")[2].partition("\nNOT checked:\n")
    steps = len(sys.modules[ROWS[tee].verify.__module__].RECIPE.steps)
    numbers = re.findall(r"^  (?:ok|--) (\S+)", table, re.MULTILINE)
    assert numbers[:steps] == [f"{tee.upper()}-{number}" for number in range(1, steps + 1)]
    assert numbers[steps].startswith("POLICY-")
    for step in re.split(r"^  (?=ok )", table, flags=re.MULTILINE)[1:]:
        for label in ("expected", "found", "set by"):
            assert f"\n      {label} " in step.partition("\n  -- ")[0], step
    assert rest.strip(), "the last section says what was not checked"


@pytest.mark.parametrize("tee", TEES)
def test_the_step_that_failed_is_explained_first(tee: Tee, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = trusted(capsys, tee, folder, "--nonce", "ff" * 16, "--explain")
    first = ran.err.partition("\nchecks:\n")[0]
    assert [label for label in ("expected", "found", "set by", "to fix", "at stake") if label not in first] == []
    assert "ff" * 16 in first
    assert re.search(r"^  NO ", ran.err.partition("\nchecks:\n")[2], re.MULTILINE)
    assert ran.err.rindex("\nNOT checked:\n") > ran.err.index("\nchecks:\n")


def everything_printed(capsys: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    """The lines of verdicts and failures of every TEE, explained."""
    lines: list[str] = []
    for tee in TEES:
        for words in ((), ("--nonce", NONCE.hex()), ("--nonce", "01"), ("--at", "2099-01-01")):
            lines += trusted(capsys, tee, folder, *words, "--explain").err.splitlines()
        lines += verify(capsys, folder / f"{tee}.bin").err.splitlines()
    return lines


def test_no_value_is_a_dash_or_empty(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [found["value"].strip() for line in everything_printed(capsys, folder) if (found := LABEL.match(line))]
    assert len(values) > 500
    assert not {"", "-", "None"} & set(values)


def test_lines_fit_the_terminal_unless_a_word_is_longer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = [line for line in everything_printed(capsys, folder) if len(line) > 100]
    assert [line for line in long if len(line.split()) > 1 and len(max(line.split(), key=len)) < 84] == []


def test_a_narrow_terminal_gets_narrow_lines(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloister.cli.verify.width_of_terminal", lambda: 80)
    lines = everything_printed(capsys, folder)
    assert max(len(line) for line in lines if not line.lstrip().startswith("http")) == 80
    assert any(re.fullmatch(r" {16}[0-9a-f]{32}", line) for line in lines), "48 bytes take two rows"


@pytest.mark.parametrize("tee", TEES)
def test_json_is_one_document_on_standard_output_alone(
    tee: Tee, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ((), ("--nonce", "01"), ("--at", "2099-01-01"), ("--explain",)):
        ran = trusted(capsys, tee, folder, "--json", *words)
        assert ran.err == ""
        assert json.loads(ran.out)["file"] == str(folder / f"{tee}.bin")
        assert not [one for one in json.loads(ran.out)["checks"] if "-" in one.values() or "" in one.values()]


def test_a_failure_after_the_first_part_keeps_its_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Evidence in a certificate for another key: the quote's steps have passed, the binding has not."""
    forge, key = IntelForge(), ratls.fresh_key()
    claims = ratls.claims_for(ratls.fresh_key())
    extension = ratls.dice_extension(
        lambda data: forge.sgx_quote(body=enclave_report(report_data=data.ljust(64, b"\0"))), claims
    )
    (tmp_path / "tls.pem").write_bytes(ratls.armoured(ratls.certificate(key, [extension]).encoded))
    (tmp_path / "root.pem").write_bytes(forge.chain_pem())
    write_collateral(forge, tmp_path / "collateral.json")
    ran = verify(capsys, tmp_path / "tls.pem", "--at", AT, "--unsafe-trust-root", tmp_path / "root.pem",
                 "--endorsement", tmp_path / "collateral.json", "--json")  # fmt: skip
    found = json.loads(ran.out)
    assert ran.code == 5
    assert found["failed"] == "BINDING-2"
    assert [one["number"] for one in found["checks"]][:2] == ["SGX-1", "SGX-2"]
    assert found["container"][-1].startswith("Intel SGX quote")


def write_collateral(forge: IntelForge, path: Path) -> None:
    """What a forged Intel says about its platform."""
    path.write_text(json.dumps(members(forge.collateral(Tee.SGX))))
