"""The small parts of the service: messages, statuses, logs, counters, allowances."""

import base64
import hashlib
import io
import json
from typing import Any

import pytest
from tests.services.key_broker import Clock, new_key, public_members

from cloister.broker.flow import Allowance
from cloister.broker.secrets_vault import UnknownSecret
from cloister.errors import (
    CloisterError,
    Denied,
    EndorsementUnavailable,
    NotAttested,
    ParseError,
    PolicyError,
    SignatureInvalid,
    Undecided,
)
from cloister.launch import _abi
from cloister.serve.journal import REQUEST_ID, Journal, shown_path
from cloister.serve.kbs_messages import parse_attestation, parse_request
from cloister.serve.metrics import Metrics
from cloister.serve.problems import Refusal, kbs_error, problem, status_of

KEY = public_members(new_key())


def attestation(**changes: Any) -> bytes:
    message = {
        "runtime-data": {"nonce": "n", "tee-pubkey": KEY},
        "tee-evidence": {"primary_evidence": {"quote": "AAAA"}, "additional_evidence": ""},
    }  # fmt: skip
    return json.dumps(message | changes).encode()


def digest(runtime: dict[str, Any]) -> bytes:
    text = json.dumps(runtime, sort_keys=True, separators=(",", ":"))
    return hashlib.sha384(text.encode()).digest()


def test_report_data_is_the_hash_of_the_runtime_data() -> None:
    """By an independent reading: kbs/src/attestation/backend.rs, `primary_runtime_data`."""
    piece = parse_attestation(attestation(), "snp").pieces[0]
    assert piece.challenge.nonce == digest({"additional-evidence": "", "nonce": "n", "tee-pubkey": KEY})
    assert piece.challenge.answered_by(piece.challenge.nonce + bytes(16))
    assert json.loads(piece.evidence) == {"quote": "AAAA"}


def test_the_canonical_text_is_fixed() -> None:
    jwk = {"alg": "ECDH-ES+A256KW", "crv": "P-256", "kty": "EC", "x": KEY["x"], "y": KEY["y"]}
    text = (
        f'{{"additional-evidence":"","nonce":"n","tee-pubkey":{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC",'
        f'"x":"{jwk["x"]}","y":"{jwk["y"]}"}}}}'
    )
    assert parse_attestation(attestation(), "snp").pieces[0].challenge.nonce == hashlib.sha384(text.encode()).digest()


def test_the_runtimes_report_data_is_this_binding() -> None:
    """The runtime writes the same text (runtime/include/cloister_abi.h): it has no JSON."""
    key = public_members(new_key("X25519"))
    text = f"{_abi.RUNTIME_DATA_BEFORE_NONCE}n{_abi.RUNTIME_DATA_BEFORE_KEY}{key['x']}{_abi.RUNTIME_DATA_END}"
    message = attestation(**{"runtime-data": {"nonce": "n", "tee-pubkey": key}})
    assert parse_attestation(message, "software").pieces[0].challenge.nonce == hashlib.sha384(text.encode()).digest()


def test_additional_evidence_is_bound_without_itself_and_bound_in_the_first() -> None:
    additional = json.dumps({"tdx": ["cpu", {"quote": "BBBB"}], "sgx": {"quote": "CCCC"}})
    evidence = {"primary_evidence": {"evidence": base64.b64encode(b"x").decode()}, "additional_evidence": additional}
    first, second, third = parse_attestation(attestation(**{"tee-evidence": evidence}), "snp").pieces
    assert first.evidence == b"x"
    assert first.challenge.nonce == digest({"additional-evidence": additional, "nonce": "n", "tee-pubkey": KEY})
    assert second.challenge.nonce == third.challenge.nonce == digest({"nonce": "n", "tee-pubkey": KEY})
    assert (second.tee, third.tee) == ("tdx", "sgx")


@pytest.mark.parametrize(
    "evidence",
    [
        {}, {"primary_evidence": {}}, {"primary_evidence": "text", "additional_evidence": ""},
        {"primary_evidence": {"evidence": "*"}, "additional_evidence": ""},
        {"primary_evidence": {}, "additional_evidence": "{"}, {"primary_evidence": {}, "additional_evidence": "[]"},
        {"primary_evidence": {}, "additional_evidence": None},
        {"primary_evidence": {}, "additional_evidence": json.dumps({str(n): {} for n in range(9)})},
    ],
)  # fmt: skip
def test_evidence_that_is_no_message_is_malformed(evidence: object) -> None:
    with pytest.raises(ParseError):
        parse_attestation(attestation(**{"tee-evidence": evidence}), "snp")


def test_additional_evidence_of_unknown_kinds_is_refused_not_passed_over() -> None:
    evidence = {"primary_evidence": {}, "additional_evidence": '{"nvidia": {}}'}
    with pytest.raises(NotAttested):
        parse_attestation(attestation(**{"tee-evidence": evidence}), "snp")


def test_requests() -> None:
    assert parse_request(b'{"version":"0.4.0","tee":"snp","extra-params":{"any":[1]}}') == "snp"
    with pytest.raises(ParseError, match="extra-params"):
        parse_request(b'{"version":"0.4.0","tee":"snp"}')


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ParseError("x", "y", 0, "z"), 400), (PolicyError("x"), 400), (NotAttested("x"), 401),
        (SignatureInvalid("x"), 401),
        (Denied("x"), 403), (UnknownSecret("x"), 404), (Undecided("x"), 503), (EndorsementUnavailable("x"), 503),
        (Refusal(415, "x"), 415), (CloisterError("x"), 500),
    ],
)  # fmt: skip
def test_every_error_has_its_status(error: CloisterError, status: int) -> None:
    assert status_of(error) == kbs_error(error).status_code == problem(error).status_code == status
    assert ("retry-after" in problem(error).headers) == (status == 503)


def test_error_texts_are_bounded() -> None:
    assert len(bytes(problem(Denied("x" * 10_000)).body)) < 1000


def test_a_log_line_is_one_line_whatever_the_path() -> None:
    stream = io.StringIO()
    scope = {REQUEST_ID: "r", "method": "GET", "path": '/a\n"b\u2028' + "x" * 1000}
    Journal(stream).request(scope, status=404, seconds=0.0012)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["ms"] == 1.2
    assert len(line) < 600


def test_addresses_of_sessions_are_left_out_of_paths() -> None:
    assert shown_path("/challenge-response/v1/session/abc") == "/challenge-response/v1/session/..."
    assert shown_path("/kbs/v0/auth") == "/kbs/v0/auth"


def test_labels_of_counters_are_few_whatever_is_asked() -> None:
    metrics = Metrics()
    for path in ("/kbs/v0/resource/a/b/c", "/kbs/v0/resource/d/e/f", "/x", "/y", "/admin/v1/secrets"):
        metrics.answered(path, 200, 0.01)
    text = metrics.text().decode()
    assert 'cloister_requests_total{status="200",step="kbs-resource"} 2.0' in text
    assert 'cloister_requests_total{status="200",step="other"} 2.0' in text


def test_an_allowance_begins_anew_with_every_period() -> None:
    clock = Clock()
    allowance = Allowance(clock, most=2)
    assert [allowance.take() for _ in range(4)] == [True, True, False, False]
    clock.forward(seconds=60)
    assert allowance.take()
    clock.forward(seconds=-600)
    assert allowance.take()
