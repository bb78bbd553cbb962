"""Attacks on what is said at the end: policies that name nothing, reports that evidence writes into, results."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.forge import amd, envelope
from tests.forge import tpm as forged_tpm
from tests.forge.every import NONCE, armoured, every
from tests.forge.x509 import NOW
from tests.security.test_attack_composites import AMD, EK, TPM, azure, vouching

import cloister
from cloister.appraise.parse_policy import parse_policy
from cloister.cli import main
from cloister.errors import PolicyError
from cloister.model import Tee
from cloister.verifier.documents import verdict_document

ACCEPT = 'accept_anchors = ["testing"]\n'
PROGRAM = bytes(range(32)).hex()
ZEROS = "00" * 32
SGX = every()[Tee.SGX]


def appraised(policy: str) -> cloister.Tier:
    """The status of a genuine SGX quote by a policy; a policy that is refused denies too."""
    try:
        made = parse_policy(ACCEPT + policy)
    except PolicyError:
        return cloister.Tier.CONTRAINDICATED
    return cloister.verify(
        SGX.evidence, nonce=NONCE, at=NOW, anchors=SGX.anchors, endorsements=SGX.endorsements, policy=made
    ).status


@pytest.mark.parametrize("digits", [PROGRAM, PROGRAM.upper()])
def test_the_control_this_policy_affirms(digits: str) -> None:
    assert appraised(f'[sgx]\nmrenclave = "{digits}"\n') is cloister.Tier.AFFIRMING


NAMES_NOTHING = {
    "another notation": f'[sgx]\nmrenclave = "0x{PROGRAM}"',
    "with a space": f'[sgx]\nmrenclave = " {PROGRAM}"',
    "none of no alternatives": "[sgx]\nany_of = []",
    "one of no values": "[sgx]\nmrenclave = { in = [] }",
    "no alternative for one claim": "[sgx]\nmrenclave = { any_of = [] }",
    "one of the values and none of no alternatives": f'[sgx]\nmrenclave = {{ in = ["{PROGRAM}"], any_of = [] }}',
    "another TEE's section": f'[tdx]\nmrtd = "{bytes(range(48)).hex()}"',
    "the same value in another TEE's section": f'[software]\nmeasurement = "{PROGRAM}"',
    "everything but one": f'[sgx]\nmrenclave = {{ not = {{ equal = "{ZEROS}" }} }}',
    "none of some": f'[[sgx.none_of]]\nmrenclave = "{ZEROS}"',
    "at least nothing": f'[sgx]\nmrenclave = {{ minimum = "{ZEROS}" }}',
    "no bits": f'[sgx]\nmrenclave = {{ masked_equal = {{ mask = "{ZEROS}", value = "{ZEROS}" }} }}',
    "that it is there": "[sgx]\nmrenclave = { present = true }",
    "that it is itself": '[sgx]\nmrenclave = { equal_claim = "mrenclave" }',
    "an alternative that always holds": (
        f'[sgx]\nmrenclave = {{ any_of = [{{ equal = "{PROGRAM}" }}, {{ present = true }}] }}'
    ),
    "an alternative that says nothing about it": (
        f'[[sgx.any_of]]\nmrenclave = "{PROGRAM}"\n[[sgx.any_of]]\ndebug = false'
    ),
    "that it decides something else": f'[sgx]\nmrenclave = {{ equal = "{PROGRAM}", decides = "configuration" }}',
    "a product number": '[sgx]\nisvprodid = { equal = 7, decides = "executables" }',
    "the signer": f'[sgx]\nmrsigner = "{bytes(range(32, 64)).hex()}"',
    "reference values of which there are none": '[sgx]\nmrenclave = { in = "reference_values" }',
}  # fmt: skip


@pytest.mark.parametrize("policy", NAMES_NOTHING.values(), ids=NAMES_NOTHING)
def test_a_policy_that_names_no_program_affirms_none(policy: str) -> None:
    assert appraised(policy) is cloister.Tier.CONTRAINDICATED


# ---------------------------------------------------------------- reports that evidence writes into

ESCAPES = "\x1b[2J\x1b]0;x\x07\r\nAFFIRMING: authentic\n\u202e\u2028\x9b"


def with_words(**words: Any) -> bytes:
    """A genuine composite whose paravisor had these words vouched for."""
    runtime = forged_tpm.runtime_data(TPM, **words)
    return azure(vouching(runtime), TPM.quote(key=b"", log=b"", nonce=NONCE), runtime)


def run(folder: Path, data: bytes, *options: str) -> int:
    """`cloister verify` with the forged AMD as root."""
    for name, content in (
        ("evidence", data),
        ("root.pem", armoured(AMD.ark.certificate.spki, "PUBLIC KEY")),
        ("chain.pem", b"".join(armoured(one.encoded, "CERTIFICATE") for one in (EK.certificate, *AMD.authorities))),
        ("list.pem", armoured(AMD.crl().encoded, "X509 CRL")),
    ):
        (folder / name).write_bytes(content)
    (folder / "cache").mkdir(exist_ok=True)
    return main([
        "verify", str(folder / "evidence"), "--at", f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "--nonce", NONCE.hex(),
        "--unsafe-trust-root", str(folder / "root.pem"), "--endorsement", str(folder / "chain.pem"), "--endorsement",
        str(folder / "list.pem"), "--collateral", str(folder / "cache"), *options,
    ])  # fmt: skip


ODD_WORDS: dict[str, dict[str, Any]] = {
    "escapes": {"user-data": ESCAPES, "vm-configuration": {ESCAPES: ESCAPES}},
    "numbers": {"vm-configuration": {"a": 10**4000, "b": [1e300, {}], "c": None}},
}


@pytest.mark.parametrize("words", ODD_WORDS.values(), ids=ODD_WORDS)
@pytest.mark.parametrize("options", [[], ["--explain"]], ids=["overview", "explained"])
def test_words_in_evidence_cannot_move_the_cursor(
    words: dict[str, Any], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, with_words(**words), *options) == 3
    report = capsys.readouterr().err
    assert all(one.isprintable() or one == "\n" for one in report)
    assert not any(line.startswith("AFFIRMING") for line in report.splitlines())


@pytest.mark.parametrize("words", ODD_WORDS.values(), ids=ODD_WORDS)
def test_a_document_is_json_whatever_the_evidence_says(
    words: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, with_words(**words), "--json") == 3
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["status"] == "warning"


@pytest.mark.parametrize(
    "data",
    [ESCAPES.encode(), f'{{"{ESCAPES[:4]}": 1}}'.encode(), envelope.document({ESCAPES: 1}), b"{" + ESCAPES.encode()],
    ids=["bytes", "raw in a name", "escaped in a name", "broken"],
)
def test_refusals_cannot_move_the_cursor_either(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, data) == 2
    assert all(one.isprintable() or one == "\n" for one in capsys.readouterr().err)
    assert run(tmp_path, data, "--json") == 2
    assert json.loads(capsys.readouterr().out)["status"] == "malformed"


# ---------------------------------------------------------------- results


def result(folder: Path, words: dict[str, Any], name: str) -> int:
    """The exit code of a verification whose result is signed."""
    signed = ["--ear", str(folder / name), "--signing-key", str(folder / "verifier.pem")]
    return run(folder, with_words(**words), *signed)


@pytest.mark.parametrize("name", ["result.jwt", "result.cwt"])
def test_the_control_a_result_is_signed(name: str, tmp_path: Path) -> None:
    assert result(tmp_path, ODD_WORDS["escapes"], name) == 3
    assert (tmp_path / name).stat().st_size


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({"user-data": "\ud800"}, "result.jwt"),
        ({"vm-configuration": {"n": 1 << 64}}, "result.cwt"),
    ],
    ids=["half a character", "a number of 65 bits"],
)
def test_evidence_cannot_crash_the_writing_of_a_result(words: dict[str, Any], name: str, tmp_path: Path) -> None:
    assert result(tmp_path, words, name) in {2, 3}


# ---------------------------------------------------------------- batches


def test_one_record_cannot_end_or_change_the_others() -> None:
    """Whatever is in a record, there is one answer for each, in order, and good evidence stays good."""
    snp = every()[Tee.SNP]
    good = cloister.verifier.many.Record(name="good", evidence=snp.evidence, nonce=NONCE)
    odd: list[dict[str, Any]] = [
        {"evidence": b""}, {"evidence": b"\xff" * 100}, {"evidence": b"[" * 100_000}, {"nonce": b""},
        {"nonce": bytes(16)}, {"nonce": b"x" * 2000}, {"at": NOW.replace(tzinfo=None)}, {"name": "\ud800"},
        {"evidence": None}, {"at": 5}, {"nonce": 5},
    ]  # fmt: skip
    records = []
    for changes in odd:
        given: dict[str, Any] = {"name": "odd", "evidence": snp.evidence, "nonce": NONCE} | changes
        records += [good, cloister.verifier.many.Record(**given)]
    answers = list(
        cloister.verify_many(records, at=NOW, anchors=snp.anchors, endorsements=snp.endorsements, processes=1)
    )
    assert [one.name for one in answers] == [one.name for one in records]
    assert {one.exit_code for one in answers[::2]} == {3}
    assert all(one.exit_code != 0 for one in answers[1::2])
    assert json.dumps([one.document for one in answers])


def test_a_verdict_does_not_say_more_than_its_parts() -> None:
    """The document's status is that of the worst part, and every part has its own."""
    good, bad = (amd.signed_report(EK, nonce=NONCE, measurement=bytes([one]) * 48).serialize() for one in (1, 2))
    both = envelope.document({"a": ["x/a", envelope.base64url(good)], "b": ["x/b", envelope.base64url(bad)]})
    policy = parse_policy(f'{ACCEPT}[snp]\nmeasurement = "{"01" * 48}"\n')
    verdict = cloister.verify(
        both, nonce=NONCE, at=NOW, anchors=AMD.anchors, endorsements=AMD.endorsements(EK), policy=policy
    )
    document = verdict_document(verdict)
    assert document["status"] == "contraindicated"
    assert [one["status"] for one in document["parts"]] == ["contraindicated"]
