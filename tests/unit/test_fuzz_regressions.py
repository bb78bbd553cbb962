"""What fuzzing found, each with the smallest input that shows it: refused now, in its own words and in time."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.forge.plain import plainly_verified

from cloister import _cbor, _json
from cloister._cose import CoseSign1
from cloister._der import oid_of
from cloister.app.flow.record import read_flow
from cloister.app.flow.text import draw_text
from cloister.appraise import corim
from cloister.appraise.corim_values import read_corim
from cloister.appraise.judge import judge
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.reference import read_reference_values
from cloister.appraise.rego import parse_rego
from cloister.appraise.vector import Tier
from cloister.broker.recipient import Recipient
from cloister.broker.session.key_material import check_certificate, load_private_key, make_certificate
from cloister.endorse import openenclave
from cloister.endorse.importing import import_files
from cloister.envelope import open_envelope
from cloister.errors import ParseError, PolicyError, UsageError
from cloister.evidence.tpm_key import parse_key
from cloister.model import Tee
from cloister.result import _base64url
from cloister.result.keys import signing_key, verification_keys
from cloister.serve.kbs_messages import parse_attestation

AT = datetime(2026, 6, 1, tzinfo=UTC)
SECONDS = 1.0

X25519 = {"kty": "OKP", "crv": "X25519", "alg": "HPKE-4", "x": _base64url.encode(b"\x09" + bytes(31))}

SHORT_KEY = b"-----BEGIN PRIVATE KEY-----\nMA8CAQAwBQYDK2VwBAMEAQE=\n-----END PRIVATE KEY-----\n"


def second_version() -> bytes:
    """A private key with its certificate, which is said to be of X.509 version 2."""
    pem = make_certificate("Ed25519", bytes, common_name="x", dns=(), start=AT, days=1)
    key, _, certificate = pem.partition(b"-----BEGIN CERTIFICATE-----\n")
    der = base64.b64decode(certificate.partition(b"-")[0]).replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\1", 1)
    return key + b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


HEADERS = _cbor.dumps({1: -7, 3: [b"application/rim+cbor"], 8: _cbor.dumps({0: {0: "signer"}})})
SIGNED = CoseSign1(protected=HEADERS, unprotected={}, payload=b"", signature=b"", tagged=True).serialize()
EMPTY_RSA = bytes.fromhex("0001 000b 00050072 0000 0010 0010 0000 00000000 0000")

REFUSED: dict[str, tuple[Callable[[Any], object], Any, type[Exception], str]] = {
    # IndexError: the first of no members
    "an empty collection inside another": (open_envelope, b'{"b":{},"a":["a/b","AA"]}', ParseError, "none is evid"),
    "an empty collection": (open_envelope, b'{"__cmwc_t":["a/b","AwAk"],"a":{}}', ParseError, "none is evidence"),
    # IndexError: the highest bit of no modulus
    "an RSA key of 0 bits": (parse_key, EMPTY_RSA, ParseError, "modulus at byte 22: 0 bytes"),
    # TypeError: a list cannot be looked up
    "a CoRIM whose content type is a list": (corim.parse, SIGNED, ParseError, "content-type.*not a text string"),
    "a JWK whose curve is a list": (verification_keys, b'{"kty":"EC","crv":[]}', UsageError, "cannot verify"),
    "a set with such a JWK": (verification_keys, b'{"keys":[{"kty":"EC","crv":{}}]}', UsageError, "no public key"),
    # read, although recognition would have kept it away
    "Open Enclave's container for another kind of enclave": (
        openenclave.parse, b"\1\0\0\0\3\0\0\0" + bytes(100), ParseError, "version",
    ),
    # UnicodeDecodeError: read as UTF-16, then taken for UTF-8
    "a statement of Intel's in UTF-16": (
        lambda data: import_files([("x", data)]), '{"signature":"é","tcbInfo":{}}'.encode("utf-16-le"), ParseError,
        "is not UTF-8",
    ),
    "JSON in UTF-32": (lambda data: _json.loads(data, "x"), '{"a":1}'.encode("utf-32"), ParseError, "x: json"),
    # RecursionError: a value of lists in lists
    "a reference value of 900 lists inside each other": (
        lambda data: read_reference_values(data, name="x"),
        b'[{"tee":"sgx","name":"a","value":' + b"[" * 900 + b"]" * 900 + b"}]", PolicyError,
        "x: entry 1: value is text",
    ),
    # RecursionError, or hours: Python's TOML reader takes time that grows with the square of a key's parts
    "a policy with a key of 30,000 parts": (parse_policy, f"{'a.' * 30_000}a = 1", PolicyError, r":1: .*16 parts"),
    "a policy with a table of 30,000 parts": (parse_policy, f"\n[{'a . ' * 15_000}a]", PolicyError, r":2: .*16 parts"),
    "a policy with quoted keys": (parse_policy, f"x='''\n\n'''\n{'a.' * 20}a=1", PolicyError, r":4: .*16 parts"),
    "a policy of lists inside each other": (
        parse_policy, f"a = {'[' * 300}{'1,' * 15_000}{']' * 300}", PolicyError, "nested more than 64 deep",
    ),
    # seconds: every quotation mark began a search for the string's end
    "a policy of strings that do not end": (parse_policy, '"\\' * 30_000, PolicyError, "policy.toml:1: "),
    # seconds: white space at the beginning of a line went on over all empty lines, from each of them
    "a Rego policy of empty lines": (parse_rego, "\n" * 65_000, PolicyError, "has no line `package policy`"),
    # ValueError while judging: Python prints no number of more than 4,300 digits
    "a policy with a number of 20,000 bits": (
        parse_policy, f"[sgx]\nisvsvn = {{ minimum = 0x{'f' * 5_000} }}", PolicyError, r":2: .*more than 64 bits",
    ),
    # ValueError when something was to be encrypted to it, after the attestation: a modulus that is no product of primes
    "an RSA key with an even modulus": (
        Recipient.of_jwk,
        {"kty": "RSA", "alg": "RSA-OAEP-256", "e": "AQAB", "n": _base64url.encode(b"\x80" + bytes(255))},
        ParseError, "are no RSA key",
    ),
    # seconds, and gigabytes for a record of 10,000 lines: in each row a column for everybody who is named anywhere
    "a flow of strangers": (
        lambda data: draw_text(read_flow(data)),
        b"\n".join(
            b'{"time":"2026-01-01T00:00Z","from":"%d","to":"","kind":"","sha256":"","size":0}' % n for n in range(2000)
        ),
        ParseError, "2001 parties",
    ),
    # InvalidVersion, which is no ValueError
    "a secret of kind x509 with a certificate of version 2": (
        check_certificate, second_version(), ValueError, "the first certificate cannot be read",
    ),
    # InternalError of the crypto library, which is no ValueError: a key of another size than its algorithm has
    "a private key of 1 byte as a secret": (load_private_key, SHORT_KEY, ValueError, "no private key in PEM"),
    "a private key of 1 byte to sign with": (signing_key, SHORT_KEY, UsageError, "no private key in PEM"),
    # ValueError: Python's base64 raises binascii.Error for all but this
    "evidence in base64 with a letter that is not ASCII": (
        lambda data: parse_attestation(data, "snp"),
        json.dumps({"runtime-data": {"nonce": "", "tee-pubkey": X25519}, "tee-evidence": {
            "primary_evidence": {"evidence": "é"}, "additional_evidence": "",
        }}),
        ParseError, "evidence at byte 0: is not base64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    read, data, error, words = REFUSED[name]
    start = time.thread_time()
    with pytest.raises(error, match=words):
        read(data)
    assert time.thread_time() - start < SECONDS


def test_a_key_that_stands_twice_can_be_printed() -> None:
    with pytest.raises(ParseError) as caught:
        _json.loads(rb'{"\ud800":1,"\ud800":2}', "x")
    assert str(caught.value).encode() == rb"x: \ud800 at byte 0: stands twice in one object"


def test_an_object_identifier_has_arcs_of_at_most_128_bits() -> None:
    """A longer one cost time that grew with the square of its length."""
    largest = [0x80 | ((1 << 128) - 1 >> shift) & 0x7F for shift in range(126, 0, -7)]
    assert oid_of(bytes([0x2A, *largest, 0x7F])) == f"1.2.{(1 << 128) - 1}"
    with pytest.raises(ValueError, match="128 bits"):
        oid_of(bytes([0x2A, 0x87, *largest[1:], 0xFF, 0x7F]))


def test_strings_with_many_dots_are_no_long_keys() -> None:
    policy = parse_policy(f'[sgx]\nmrenclave = {{ equal = "aa", because = "{"a." * 40}" }} # {"a." * 40}\n')
    verdict = judge(plainly_verified(Tee.SGX), policy, claims={"mrenclave": "aa", "debug": False})
    assert verdict.status is Tier.AFFIRMING


def test_the_largest_number_is_one_of_64_bits() -> None:
    policy = parse_policy(f"[sgx]\nisvsvn = {{ maximum = {(1 << 64) - 1} }}")
    assert str((1 << 64) - 1) in str(judge(plainly_verified(Tee.SGX), policy, claims={"isvsvn": 1}).checks)
    with pytest.raises(PolicyError, match="64 bits"):
        parse_policy(f"[sgx]\nisvsvn = {{ maximum = {1 << 64} }}")


def test_a_corim_that_is_refused_is_a_policy_error_to_whoever_reads_values() -> None:
    with pytest.raises(PolicyError, match="content-type"):
        read_corim(SIGNED, name="x", keys=(), at=AT)
